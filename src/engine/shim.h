// What the files of C++ have in common.

#pragma once

#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Does some work, and returns null, or the text of what it threw, for shim.rs to free.
template <class Work>
char* guarded(Work work) {
  try { work(); return nullptr; }
  catch (const c10::Error& error) { return strdup(error.what_without_backtrace()); }
  catch (const std::exception& error) { return strdup(error.what()); }
  catch (...) { return strdup("an exception that has no text"); }
}
