//! Python's arithmetic on sizes, which a graph has beside its operators on tensors.
//!
//! In: an operator by the name that the graph has for it, and numbers. Out: the number that Python computes.

use std::cmp::Ordering;

/// A size, or what is computed of sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// An operator of Python on numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    FloorDiv,
    TrueDiv,
    Mod,
    Pow,
    Neg,
    Pos,
    Min,
    Max,
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    LeftShift,
    RightShift,
    ToInt,
    ToFloat,
    Sqrt,
    /// The second or the third number, by the first.
    Choose,
}

/// Why a number cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("{0:?} of {1} numbers")]
    Count(Arithmetic, usize),
    #[error("{0:?} divides by zero")]
    Zero(Arithmetic),
    #[error("{0:?} leaves 64 bits")]
    Overflow(Arithmetic),
    #[error("{0:?} takes whole numbers")]
    Whole(Arithmetic),
}

impl Arithmetic {
    /// The operator that a graph calls so; `None` for what is none.
    pub fn named(target: &str) -> Option<Self> {
        Some(match target {
            "_operator.add" => Self::Add,
            "_operator.sub" => Self::Sub,
            "_operator.mul" => Self::Mul,
            "_operator.floordiv" => Self::FloorDiv,
            "_operator.truediv" => Self::TrueDiv,
            "_operator.mod" => Self::Mod,
            "_operator.pow" => Self::Pow,
            "_operator.neg" => Self::Neg,
            "_operator.pos" => Self::Pos,
            "_operator.and_" => Self::And,
            "_operator.or_" => Self::Or,
            "_operator.eq" => Self::Eq,
            "_operator.ne" => Self::Ne,
            "_operator.lt" => Self::Lt,
            "_operator.le" => Self::Le,
            "_operator.gt" => Self::Gt,
            "_operator.ge" => Self::Ge,
            "_operator.lshift" => Self::LeftShift,
            "_operator.rshift" => Self::RightShift,
            "math.trunc" | "torch.sym_int" => Self::ToInt,
            "torch.sym_float" => Self::ToFloat,
            "torch.sym_max" => Self::Max,
            "torch.sym_min" => Self::Min,
            "torch.sym_not" => Self::Not,
            "torch.sym_ite" => Self::Choose,
            "torch._sym_sqrt" | "torch.sym_sqrt" => Self::Sqrt,
            _ => return None,
        })
    }

    /// What Python computes of these numbers.
    ///
    /// # Errors
    /// Another count of numbers than the operator takes, a division by zero, a whole number beyond 64 bits.
    pub fn of(self, numbers: &[Number]) -> Result<Number, SizeError> {
        match *numbers {
            [a] => self.of_one(a),
            [a, b] => self.of_two(a, b),
            [condition, a, b] if self == Self::Choose => Ok(if condition.truth() { a } else { b }),
            _ => Err(SizeError::Count(self, numbers.len())),
        }
    }

    fn of_one(self, a: Number) -> Result<Number, SizeError> {
        Ok(match self {
            Self::Neg => match a.whole() {
                Some(a) => Number::Int(a.checked_neg().ok_or(SizeError::Overflow(self))?),
                None => Number::Float(-a.real()),
            },
            Self::Pos => a.whole().map_or(a, Number::Int),
            Self::Not => Number::Bool(!a.truth()),
            Self::ToInt => Number::Int(a.whole().unwrap_or(a.real().trunc() as i64)),
            Self::ToFloat => Number::Float(a.real()),
            Self::Sqrt => Number::Float(a.real().sqrt()),
            _ => return Err(SizeError::Count(self, 1)),
        })
    }

    fn of_two(self, a: Number, b: Number) -> Result<Number, SizeError> {
        let order = || a.order(b);
        Ok(match self {
            Self::Eq => Number::Bool(order() == Some(Ordering::Equal)),
            Self::Ne => Number::Bool(order() != Some(Ordering::Equal)),
            Self::Lt => Number::Bool(order() == Some(Ordering::Less)),
            Self::Le => Number::Bool(order().is_some_and(Ordering::is_le)),
            Self::Gt => Number::Bool(order() == Some(Ordering::Greater)),
            Self::Ge => Number::Bool(order().is_some_and(Ordering::is_ge)),
            Self::Min => {
                if order() == Some(Ordering::Greater) {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if order() == Some(Ordering::Less) {
                    b
                } else {
                    a
                }
            }
            _ => match (a, b) {
                (Number::Bool(a), Number::Bool(b)) if self == Self::And => Number::Bool(a && b),
                (Number::Bool(a), Number::Bool(b)) if self == Self::Or => Number::Bool(a || b),
                _ => match (a.whole(), b.whole()) {
                    (Some(a), Some(b)) => self.of_whole(a, b)?,
                    _ => Number::Float(self.of_real(a.real(), b.real())?),
                },
            },
        })
    }

    fn of_whole(self, a: i64, b: i64) -> Result<Number, SizeError> {
        if b == 0 && matches!(self, Self::FloorDiv | Self::TrueDiv | Self::Mod) {
            return Err(SizeError::Zero(self));
        }
        let shift = u32::try_from(b).ok();
        let number = match self {
            Self::Add => a.checked_add(b),
            Self::Sub => a.checked_sub(b),
            Self::Mul => a.checked_mul(b),
            // Rust rounds to zero, Python down.
            Self::FloorDiv => {
                a.checked_div(b).map(|quotient| quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
            }
            Self::Mod => {
                a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
            }
            Self::And => Some(a & b),
            Self::Or => Some(a | b),
            Self::LeftShift => {
                shift.and_then(|shift| 1i64.checked_shl(shift)).and_then(|by| a.checked_mul(by))
            }
            Self::RightShift => shift.map(|shift| a >> shift.min(63)),
            Self::TrueDiv => return Ok(Number::Float(a as f64 / b as f64)),
            Self::Pow if b < 0 => return Ok(Number::Float((a as f64).powf(b as f64))),
            Self::Pow => shift.and_then(|power| a.checked_pow(power)),
            _ => return Err(SizeError::Count(self, 2)),
        };
        number.map(Number::Int).ok_or(SizeError::Overflow(self))
    }

    fn of_real(self, a: f64, b: f64) -> Result<f64, SizeError> {
        if b == 0.0 && matches!(self, Self::FloorDiv | Self::TrueDiv | Self::Mod) {
            return Err(SizeError::Zero(self));
        }
        Ok(match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::TrueDiv => a / b,
            Self::FloorDiv => (a / b).floor(),
            Self::Mod => a - b * (a / b).floor(),
            Self::Pow => a.powf(b),
            Self::And | Self::Or | Self::LeftShift | Self::RightShift => return Err(SizeError::Whole(self)),
            _ => return Err(SizeError::Count(self, 2)),
        })
    }
}

impl Number {
    /// It as a whole number, if it is one; a truth value is 0 or 1, as in Python.
    pub fn whole(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Bool(value) => Some(i64::from(value)),
            Self::Float(_) => None,
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Int(value) => value as f64,
            Self::Bool(value) => f64::from(value),
        }
    }

    fn truth(self) -> bool {
        self.real() != 0.0
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self.whole(), other.whole()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => self.real().partial_cmp(&other.real()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str, numbers: &[Number]) -> Result<Number, SizeError> {
        Arithmetic::named(target).unwrap().of(numbers)
    }

    fn ints(target: &str, a: i64, b: i64) -> Number {
        of(target, &[Number::Int(a), Number::Int(b)]).unwrap()
    }

    #[test]
    fn division_rounds_down_as_in_python() {
        let all = [(7, 2), (-7, 2), (7, -2), (-7, -2), (6, 3)];
        let quotients = all.map(|(a, b)| ints("_operator.floordiv", a, b));
        assert_eq!(quotients, [3, -4, -4, 3, 2].map(Number::Int));
        let rests = all.map(|(a, b)| ints("_operator.mod", a, b));
        assert_eq!(rests, [1, 1, -1, -1, 0].map(Number::Int));
        assert_eq!(ints("_operator.truediv", 7, 2), Number::Float(3.5));
    }

    #[test]
    fn whole_numbers_stay_whole_and_floats_are_cut_to_them() {
        assert_eq!(ints("_operator.mul", 6, 7), Number::Int(42));
        assert_eq!(ints("_operator.pow", 2, 10), Number::Int(1024));
        assert_eq!(ints("_operator.pow", 2, -1), Number::Float(0.5));
        assert_eq!(of("_operator.add", &[Number::Int(1), Number::Float(0.5)]), Ok(Number::Float(1.5)));
        assert_eq!(of("math.trunc", &[Number::Float(-1.5)]), Ok(Number::Int(-1)));
        assert_eq!(of("torch.sym_max", &[Number::Int(3), Number::Int(5)]), Ok(Number::Int(5)));
        assert_eq!(of("torch.sym_float", &[Number::Int(3)]), Ok(Number::Float(3.0)));
    }

    #[test]
    fn comparisons_are_truth_values_that_choose() {
        let less = ints("_operator.lt", 1, 2);
        assert_eq!(less, Number::Bool(true));
        assert_eq!(of("torch.sym_ite", &[less, Number::Int(8), Number::Int(9)]), Ok(Number::Int(8)));
        assert_eq!(of("torch.sym_not", &[less]), Ok(Number::Bool(false)));
        assert_eq!(of("_operator.and_", &[less, Number::Bool(false)]), Ok(Number::Bool(false)));
    }

    #[test]
    fn what_cannot_be_computed_is_an_error() {
        let zero = of("_operator.floordiv", &[Number::Int(1), Number::Int(0)]);
        assert_eq!(zero, Err(SizeError::Zero(Arithmetic::FloorDiv)));
        let much = of("_operator.mul", &[Number::Int(i64::MAX), Number::Int(2)]);
        assert_eq!(much, Err(SizeError::Overflow(Arithmetic::Mul)));
        assert_eq!(of("_operator.add", &[Number::Int(1)]), Err(SizeError::Count(Arithmetic::Add, 1)));
        assert_eq!(Arithmetic::named("_operator.getitem"), None);
    }
}
