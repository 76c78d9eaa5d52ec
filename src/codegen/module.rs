//! The items of one generated module as tokens: the model as a static, one line per check.

use super::literal;
use crate::spec::{Check, Entry, Versions};
use heck::ToUpperCamelCase;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

/// What a module takes from the library.
pub fn prelude() -> TokenStream {
    quote!(
        use crate::prelude::*;
    )
}

/// `static MODEL: Model<FillMask> = …;`
pub fn model(entry: &Entry, versions: &Versions) -> TokenStream {
    let task = format_ident!("{}", entry.task.name.to_upper_camel_case());
    let (name, family, class) = (entry.name.as_str(), entry.family.as_str(), &entry.class);
    let checkpoint = literal::option(entry.checkpoint.as_ref());
    let digest = entry.digest(versions);
    let inputs = ports(&task, "inputs", &entry.inputs, entry.task.inputs, literal::input);
    let outputs = ports(&task, "outputs", &entry.outputs, entry.task.outputs, literal::output);
    let axes = entry.axes.iter().map(|(name, axis)| literal::axis(name, axis));
    let tolerance = entry.tolerance.iter().map(literal::waiver);
    let idle = entry.idle.iter().map(literal::idle);
    quote! {
        static MODEL: Model<#task> = Model::new(ModelSpec {
            name: #name,
            family: #family,
            class: #class,
            checkpoint: #checkpoint,
            digest: #digest,
            inputs: #inputs,
            outputs: #outputs,
            axes: &[#(#axes),*],
            tolerance: &[#(#tolerance),*],
            idle: &[#(#idle),*],
        });
    }
}

/// The task's own list where the entry leaves it as it is, else the entry's list in full.
fn ports<T: PartialEq>(
    task: &proc_macro2::Ident,
    field: &str,
    own: &[T],
    contract: &[T],
    literal: fn(&T) -> TokenStream,
) -> TokenStream {
    let field = format_ident!("{field}");
    if own == contract {
        return quote!(#task::CONTRACT.#field);
    }
    let own = own.iter().map(literal);
    quote!(&[#(#own),*])
}

/// `fn wired() -> Verdict { mock::wired(&MODEL) }`, the one test of a build without libtorch.
pub fn mock() -> TokenStream {
    quote! {
        #[cfg_attr(not(feature = "libtorch"), test)]
        fn wired() -> Verdict {
            mock::wired(&MODEL)
        }
    }
}

/// `fn loads() -> Verdict { check::loads(&MODEL) }`, a test of a build with libtorch.
pub fn test(check: Check) -> TokenStream {
    let name = format_ident!("{}", check.name());
    quote! {
        #[cfg_attr(feature = "libtorch", test)]
        fn #name() -> Verdict {
            check::#name(&MODEL)
        }
    }
}
