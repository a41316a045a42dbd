//! Numbers for people.

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

#[cfg(test)]
mod tests {
    use super::*;

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
