//! Numbers for people.
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes with a binary unit and three digits: `93.8 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = n as f64 / 1024.0;
    let mut units = UNITS.iter().peekable();
    let mut unit = units.next().unwrap_or(&"");
    // 999.5 would be shown as 1000.
    while value >= 999.5 && units.peek().is_some() {
        value /= 1024.0;
        unit = units.next().unwrap_or(unit);
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// Things per second; infinite or undefined rates are shown as 0.
pub(crate) fn rate(n: usize, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate of three digits")]
    let rate = n as f64 / seconds;
    if rate.is_finite() { rate } else { 0.0 }
}

/// A count with a thin separator between thousands: `134,515,008`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with a decimal unit and three digits: `135M`.
pub(crate) fn si(n: u64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = n as f64;
    // 999.5 of a unit is one of the next.
    match UNITS.iter().find(|(unit, _)| value >= unit * 0.9995) {
        Some((unit, name)) => {
            let value = value / unit;
            let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
            format!("{value:.decimals$}{name}")
        }
        None => n.to_string(),
    }
}

/// The day of a time, in UTC: `2026-11-25`.
pub(crate) fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Years that begin in March have the leap day at their end; 719,468 days lie between 0000-03-01 and 1970.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ];
        for (seconds, text) in cases {
            assert_eq!(date(UNIX_EPOCH + std::time::Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn decimal_units() {
        let cases = [
            (7, "7"),
            (999, "999"),
            (134_515_008, "135M"),
            (999_600, "1.00M"),
            (8_030_261_248, "8.03B"),
        ];
        for (n, text) in cases {
            assert_eq!(si(n), text);
        }
    }

    #[test]
    fn three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_230, "9.99 KiB"),
            (10_240, "10.0 KiB"),
            (1_023_999, "0.98 MiB"),
            (98_362_432, "93.8 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
        assert_eq!([count(7), count(1000), count(134_515_008)], ["7", "1,000", "134,515,008"]);
        assert_eq!(
            (rate(5, 0.0).to_bits(), rate(5, 2.0).to_bits()),
            (0.0_f64.to_bits(), 2.5_f64.to_bits())
        );
    }
}
