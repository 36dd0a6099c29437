//! Numbers as people read them.

/// A number of bytes with its binary unit: `1.5 KiB`.
pub fn readable_bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// A duration in its largest fitting unit: `40 s`, `12 min`, `1 h 05 min`.
pub fn readable_seconds(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes, minutes / 60) {
        (0, _) => format!("{seconds:.0} s"),
        (_, 0) => format!("{minutes} min"),
        (_, hours) => format!("{hours} h {:02} min", minutes % 60),
    }
}

/// Columns as wide as their widest cell, the first to the left, the others to the right.
pub fn aligned_columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(readable_bytes(0), "0 B");
        assert_eq!(readable_bytes(1023), "1023 B");
        assert_eq!(readable_bytes(1536), "1.5 KiB");
        assert_eq!(readable_bytes(512 * 1024 * 512), "256.0 MiB");
        assert_eq!(readable_seconds(12.4), "12 s");
        assert_eq!(readable_seconds(1800.0), "30 min");
        assert_eq!(readable_seconds(3900.0), "1 h 05 min");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let text = aligned_columns(&[row(["keep", "ms"]), row(["1/9", "12.5 ± 1"])]);
        assert_eq!(text, "keep        ms\n1/9   12.5 ± 1");
    }
}
