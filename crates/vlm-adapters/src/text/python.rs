//! The parts of the reference's Python that templates expect: dictionaries that keep their order, `json.dumps`, `strftime`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::{Enumerator, Kwargs, Object, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// A dictionary in the order in which it was written.
#[derive(Debug)]
struct Dict(Vec<(&'static str, Value)>);

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(key, _)| Value::from(*key)).collect())
    }
}

/// A dictionary with these entries.
pub(super) fn dict<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    Value::from_object(Dict(entries.into()))
}

/// `json.dumps(value, ensure_ascii=False)`, with its `indent` if it is given.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut text = String::new();
    write(value, indent, 0, &mut text)?;
    Ok(Value::from_safe_string(text))
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => *text += "null",
        ValueKind::Bool => *text += if value.is_true() { "true" } else { "false" },
        ValueKind::Number => *text += &value.to_string(),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), text),
        ValueKind::Map => {
            let entries = value.try_iter()?.map(|key| {
                let value = value.get_item(&key)?;
                Ok((Some(key.to_string()), value))
            });
            let entries: Vec<_> = entries.collect::<Result<_, Error>>()?;
            list(['{', '}'], &entries, indent, depth, text)?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<_> = value.try_iter()?.map(|item| (None, item)).collect();
            list(['[', ']'], &items, indent, depth, text)?;
        }
        other => {
            let found = format!("a value of kind {other} is no json");
            return Err(Error::new(ErrorKind::InvalidOperation, found));
        }
    }
    Ok(())
}

fn list(
    [open, close]: [char; 2],
    items: &[(Option<String>, Value)],
    indent: Option<usize>,
    depth: usize,
    text: &mut String,
) -> Result<(), Error> {
    let line = |depth: usize, text: &mut String| {
        if let Some(width) = indent.filter(|_| !items.is_empty()) {
            text.push('\n');
            *text += &" ".repeat(width * depth);
        }
    };
    text.push(open);
    for (i, (key, value)) in items.iter().enumerate() {
        if i > 0 {
            *text += if indent.is_some() { "," } else { ", " };
        }
        line(depth + 1, text);
        if let Some(key) = key {
            quote(key, text);
            *text += ": ";
        }
        write(value, indent, depth + 1, text)?;
    }
    line(depth, text);
    text.push(close);
    Ok(())
}

fn quote(value: &str, text: &mut String) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => *text += "\\\"",
            '\\' => *text += "\\\\",
            '\n' => *text += "\\n",
            '\r' => *text += "\\r",
            '\t' => *text += "\\t",
            '\u{8}' => *text += "\\b",
            '\u{c}' => *text += "\\f",
            control if control < ' ' => *text += &format!("\\u{:04x}", u32::from(control)),
            other => text.push(other),
        }
    }
    text.push('"');
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The present date and time (UTC) in `strftime`'s notation.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, now.as_secs())
}

/// The time `seconds` after the beginning of 1970.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let day_of_year = days - days_before(year) + 1;
    let (weekday, month_name) = (DAYS[((days + 4) % 7) as usize], MONTHS[month as usize - 1]);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        text += &match characters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name[..3].into(),
            Some('d') => format!("{day:02}"),
            Some('e') => format!("{day:2}"),
            Some('j') => format!("{day_of_year:03}"),
            Some('A') => weekday.into(),
            Some('a') => weekday[..3].into(),
            Some('H') => format!("{hour:02}"),
            Some('I') => format!("{:02}", (hour + 11) % 12 + 1),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".into(),
            other => {
                let found = format!(
                    "strftime_now knows no %{}",
                    other.map(String::from).unwrap_or_default()
                );
                return Err(Error::new(ErrorKind::InvalidOperation, found));
            }
        };
    }
    Ok(text)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from the beginning of 1970 to that of a year.
fn days_before(year: u64) -> u64 {
    (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum()
}

/// Year, month and day of the month, from 1, of a day since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before(year);
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() -> Result<(), Error> {
        for (seconds, wanted) in [
            (0, "Thu 01 Jan 1970 001 12 AM"),
            (951_782_400, "Tue 29 Feb 2000 060 12 AM"),
            (1_735_646_399, "Tue 31 Dec 2024 366 11 AM"),
            (1_735_689_600, "Wed 01 Jan 2025 001 12 AM"),
            (4_107_542_400, "Mon 01 Mar 2100 060 12 AM"),
        ] {
            assert_eq!(strftime("%a %d %b %Y %j %I %p", seconds)?, wanted);
        }
        assert_eq!(
            strftime("%F %T %y%m%e %A %B %%", 1_735_646_399)?,
            "2024-12-31 11:59:59 241231 Tuesday December %"
        );
        assert!(strftime("%Q", 0).is_err());
        Ok(())
    }
}
