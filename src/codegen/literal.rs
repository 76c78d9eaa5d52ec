//! Contract and spec data as Rust literals, in the short forms that `prelude` offers to generated modules.

use crate::spec::{Axis, Idle, Waiver};
use crate::task::{Dim, Dtype, Fill, Input, Output, Range, Text};
use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, format_ident, quote};

/// `input("bbox", Dtype::Int64, &[named("batch"), size(4)], Fill::Boxes)`
pub fn input(input: &Input) -> TokenStream {
    let (name, dtype, shape) = (input.name.as_ref(), dtype(input.dtype), shape(input.shape));
    let fill = match input.fill {
        Fill::Integers { low, high } => {
            let [low, high] = [low, high].map(Literal::i64_unsuffixed);
            quote!(Fill::Integers { low: #low, high: #high })
        }
        Fill::Values { values } => {
            let values = values.iter().map(|&value| Literal::i64_unsuffixed(value));
            quote!(Fill::Values { values: &[#(#values),*] })
        }
        Fill::Grid { columns, rows } => {
            let [columns, rows] = [columns, rows].map(Literal::usize_unsuffixed);
            quote!(Fill::Grid { columns: #columns, rows: #rows })
        }
        plain => variant("Fill", &plain),
    };
    quote!(input(#name, #dtype, #shape, #fill))
}

/// `output("logits", Dtype::Float32, &[named("batch"), named("labels")], Range::Finite)`
pub fn output(output: &Output) -> TokenStream {
    let (name, dtype, shape) = (output.name.as_ref(), dtype(output.dtype), shape(output.shape));
    let range: &Range = &output.range;
    let range = variant("Range", range);
    quote!(output(#name, #dtype, #shape, #range))
}

/// `dynamic("batch", 2, 3)`, `fixed("image", 32, "…")` or `per("images", "batch", 1)`
pub fn axis(name: &str, axis: &Axis) -> TokenStream {
    let size = |size: usize| Literal::usize_unsuffixed(size);
    match axis {
        Axis::Dynamic { traced, second } => {
            let (traced, second) = (size(*traced), size(*second));
            quote!(dynamic(#name, #traced, #second))
        }
        Axis::Fixed { size: only, reason } => {
            let (only, reason) = (size(*only), reason.as_ref());
            quote!(fixed(#name, #only, #reason))
        }
        Axis::Per { axis, count } => {
            let (axis, count) = (axis.as_ref(), size(*count));
            quote!(per(#name, #axis, #count))
        }
    }
}

/// `idle("*.key.bias", "…", false)`
pub fn idle(idle: &Idle) -> TokenStream {
    let (parameters, reason, own) = (idle.parameters.as_ref(), idle.reason.as_ref(), idle.own);
    quote!(idle(#parameters, #reason, #own))
}

/// `Waiver { check: Check::Half, … }`
pub fn waiver(waiver: &Waiver) -> TokenStream {
    let check = variant("Check", &waiver.check);
    let (k, reason) = (Literal::f64_unsuffixed(waiver.k), text(waiver.reason));
    let [output, issue, until] =
        [waiver.output, waiver.issue, waiver.until].map(|field| option(field.map(text)));
    quote! {
        Waiver { check: #check, output: #output, k: #k, reason: #reason, issue: #issue, until: #until }
    }
}

/// `Some(…)` or `None`.
pub fn option(value: Option<impl ToTokens>) -> TokenStream {
    value.map_or_else(|| quote!(None), |value| quote!(Some(#value)))
}

fn shape(shape: &[Dim]) -> TokenStream {
    let dims = shape.iter().map(|dim| match dim {
        Dim::Named(name) => {
            let name = name.as_ref();
            quote!(named(#name))
        }
        Dim::Size(size) => {
            let size = Literal::usize_unsuffixed(*size);
            quote!(Dim::Size(#size))
        }
    });
    quote!(&[#(#dims),*])
}

fn text(text: Text) -> TokenStream {
    let text = text.as_ref();
    quote!(text(#text))
}

fn dtype(dtype: Dtype) -> TokenStream {
    variant("Dtype", &dtype)
}

/// `Type::Variant` of a fieldless variant, by its Debug name.
fn variant(of: &str, value: &impl std::fmt::Debug) -> TokenStream {
    let (of, variant) = (format_ident!("{of}"), format_ident!("{value:?}"));
    quote!(#of::#variant)
}
