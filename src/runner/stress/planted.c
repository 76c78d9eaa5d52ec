// Laid over a process (LD_PRELOAD): whoever opens the file that PLANTED_IN names part of ends as PLANTED says.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void end(const char *how) {
    // A signal that is only sent would be taken for no fault by Rust's own handler.
    if (!strcmp(how, "segfaults")) *(volatile int *)0 = 0;
    if (!strcmp(how, "aborts")) abort();
    if (!strcmp(how, "never returns")) for (;;) pause();
    // Slowly enough for whoever looks at its memory.
    for (size_t size = 64 << 20;; usleep(20000)) memset(malloc(size), 1, size);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *part = getenv("PLANTED_IN"), *how = getenv("PLANTED");
    if (part && how && strstr(path, part)) end(how);
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return next(path, flags, mode);
}
