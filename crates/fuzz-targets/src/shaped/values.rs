//! JSON values at the edges of what readers expect, and changes to values that are there.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Number, Value};

/// Deepest nesting of a value that is drawn.
const DEEPEST: usize = 3;
/// Texts that mean something somewhere.
const TEXTS: [&str; 18] = [
    "",
    " ",
    "\0",
    "\u{feff}",
    "null",
    "NaN",
    "../../x",
    "/dev/zero",
    "<image>",
    "<|im_start|>",
    "{{ x }}",
    "float16",
    "F64",
    "llava",
    "qwen2_5_vl",
    "gelu",
    "all",
    "ßß😀\u{202e}",
];

/// A number, at an edge more often than not.
pub fn number(u: &mut Unstructured<'_>) -> Result<Number> {
    let integer = |value: i128| Number::from_i128(value).unwrap_or_else(|| Number::from(0));
    Ok(match u.int_in_range(0..=9)? {
        0 => integer(0),
        1 => integer(u.int_in_range(-2..=64)?),
        2 => integer(1_i128 << u.int_in_range(0..=63)?),
        3 => integer((1_i128 << u.int_in_range(0..=63)?) - 1),
        4 => integer(i128::from(i64::MIN)),
        5 => integer(i128::from(u64::MAX)),
        6 => integer(u.arbitrary::<i64>()?.into()),
        7 => Number::from_f64(*u.choose(&[0.5, -0.0, 1e-320, 1e308, -1e308, 1.5e19, 3.4e38, 1e-46])?)
            .unwrap_or_else(|| Number::from(1)),
        // What is not finite has no form in JSON.
        8 => Number::from_f64(u.arbitrary()?).unwrap_or_else(|| Number::from(2)),
        _ => integer(u.int_in_range(1..=4096)?),
    })
}

/// A short text.
pub fn text(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(2, 3)? {
        return Ok((*u.choose(&TEXTS)?).to_string());
    }
    let letters = u.int_in_range(0..=24)?;
    (0..letters).map(|_| u.arbitrary::<char>()).collect()
}

/// Any value, no deeper than [`DEEPEST`].
pub fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    nested(u, DEEPEST)
}

fn nested(u: &mut Unstructured<'_>, deepest: usize) -> Result<Value> {
    let kinds = if deepest == 0 { 5 } else { 7 };
    Ok(match u.int_in_range(0..=kinds)? {
        0 => Value::Null,
        1 => Value::Bool(u.arbitrary()?),
        2 | 3 => Value::Number(number(u)?),
        4 | 5 => Value::String(text(u)?),
        6 => {
            let items = (0..u.int_in_range(0..=4)?).map(|_| nested(u, deepest - 1));
            Value::Array(items.collect::<Result<_>>()?)
        }
        _ => {
            let fields = (0..u.int_in_range(0..=4)?).map(|_| Ok((text(u)?, nested(u, deepest - 1)?)));
            Value::Object(fields.collect::<Result<Map<_, _>>>()?)
        }
    })
}

/// Makes one to four changes at places of a value.
pub fn edit(u: &mut Unstructured<'_>, whole: &mut Value) -> Result<()> {
    for _ in 0..u.int_in_range(1..=4)? {
        change(u, whole)?;
    }
    Ok(())
}

/// Walks down to a place and changes what is there.
fn change(u: &mut Unstructured<'_>, mut place: &mut Value) -> Result<()> {
    loop {
        let n = match place {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if n == 0 || u.ratio(1, 8)? {
            *place = value(u)?;
            return Ok(());
        }
        let chosen = u.choose_index(n)?;
        let what = u.int_in_range(0..=11)?;
        match place {
            Value::Array(items) => match what {
                0 => drop(items.remove(chosen)),
                1 => items.insert(chosen, value(u)?),
                2 => items.push(items[chosen].clone()),
                3 => items.reverse(),
                _ => {
                    place = &mut items[chosen];
                    continue;
                }
            },
            Value::Object(fields) => {
                let key = fields.keys().nth(chosen).cloned().unwrap_or_default();
                match what {
                    0 => drop(fields.remove(&key)),
                    1 => drop(fields.insert(text(u)?, value(u)?)),
                    // The value of one field under the name of another.
                    2 => {
                        let other = u.choose_index(n)?;
                        let other = fields.values().nth(other).cloned().unwrap_or_default();
                        fields.insert(key, other);
                    }
                    _ => {
                        place = fields.entry(key).or_insert(Value::Null);
                        continue;
                    }
                }
            }
            _ => {}
        }
        return Ok(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_bytes_make_the_same_changes_and_no_bytes_make_some_too() {
        let form = json!({"a": [1, 2, {"b": "c"}], "d": null, "e": 7});
        let changed = |bytes: &[u8]| {
            let mut value = form.clone();
            edit(&mut Unstructured::new(bytes), &mut value).unwrap();
            value
        };
        let bytes: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(changed(&bytes), changed(&bytes));
        assert_ne!(changed(&bytes), form);
        changed(&[]);
    }
}
