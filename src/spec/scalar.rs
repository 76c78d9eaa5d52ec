//! Plain scalars by the YAML 1.2 core schema.
//!
//! In: an unquoted scalar's text. Out: its value. <https://yaml.org/spec/1.2.2/#103-core-schema>

use super::tree::Value;

/// The value of an unquoted scalar.
///
/// # Errors
/// A whole number that does not fit 64 bits.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some((digits, radix)) = whole_number(text) {
        return i64::from_str_radix(digits, radix)
            .map(Value::Int)
            .map_err(|_| "a whole number must fit 64 bits".to_owned());
    }
    Ok(float(text).map_or_else(|| Value::Text(text.to_owned()), Value::Float))
}

/// The digits (with their sign) and the radix of `12`, `-12`, `0o17` or `0x1f`.
fn whole_number(text: &str) -> Option<(&str, u32)> {
    let (digits, radix) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(octal), _) => (octal, 8),
        (_, Some(hexadecimal)) => (hexadecimal, 16),
        _ => (text, 10),
    };
    let unsigned = if radix == 10 { digits.strip_prefix(['-', '+']).unwrap_or(digits) } else { digits };
    let valid = !unsigned.is_empty() && unsigned.chars().all(|c| c.is_digit(radix));
    valid.then_some((digits, radix))
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        _ if matches!(text, ".nan" | ".NaN" | ".NAN") => return Some(f64::NAN),
        _ => {}
    }
    // Rust's own grammar is the schema's, once `inf`, `nan` and `infinity` are kept out.
    let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let letters = unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'));
    (begins && letters).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_schema() {
        let table = [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("nuLL", Value::Text("nuLL".into())),
            ("TRUE", Value::Bool(true)),
            ("no", Value::Text("no".into())),
            ("on", Value::Text("on".into())),
            ("y", Value::Text("y".into())),
            ("12", Value::Int(12)),
            ("-12", Value::Int(-12)),
            ("+12", Value::Int(12)),
            ("007", Value::Int(7)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("0x", Value::Text("0x".into())),
            ("0x-1", Value::Text("0x-1".into())),
            ("1_000", Value::Text("1_000".into())),
            ("1e3", Value::Float(1000.0)),
            ("1e-12", Value::Float(1e-12)),
            (".5", Value::Float(0.5)),
            ("1.", Value::Float(1.0)),
            ("-1.5E+2", Value::Float(-150.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("inf", Value::Text("inf".into())),
            ("nan", Value::Text("nan".into())),
            ("e5", Value::Text("e5".into())),
            (".", Value::Text(".".into())),
            ("-", Value::Text("-".into())),
            ("--1", Value::Text("--1".into())),
            ("5.17.0", Value::Text("5.17.0".into())),
            ("2025-01-31", Value::Text("2025-01-31".into())),
        ];
        for (text, value) in table {
            assert_eq!(resolve(text).as_ref(), Ok(&value), "{text:?}");
        }
        assert!(resolve("99999999999999999999").is_err());
    }
}
