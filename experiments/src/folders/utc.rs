//! Moments as RFC 3339 writes them, in UTC. Days become dates and dates days by the algorithms of Hinnant ("chrono-compatible
//! low-level date algorithms", `civil_from_days` and `days_from_civil`), years beginning in March.

/// A moment, in seconds since 1970: `2026-09-28T12:00:00Z`.
pub(crate) fn utc(since_1970: u64) -> String {
    let [year, month, day] = date(since_1970 / 86_400);
    let second = since_1970 % 86_400;
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A moment, in milliseconds since 1970, with its offset as digits: `2026-09-28T12:00:00.250+00:00`.
pub(crate) fn utc_of_milliseconds(since_1970: u64) -> String {
    let whole = utc(since_1970 / 1000);
    format!("{}.{:03}+00:00", whole.trim_end_matches('Z'), since_1970 % 1000)
}

/// Seconds since 1970 of what [`utc`] writes; none of another text.
pub(crate) fn since_1970(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let three = |text: &str, between: char| -> Option<[u64; 3]> {
        text.split(between).map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (three(date, '-')?, three(time, ':')?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let from_march = (month + 9) % 12;
    let year = year - u64::from(month <= 2);
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    let days = year / 400 * 146_097 + of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Year, month and day.
fn date(days_since_1970: u64) -> [u64; 3] {
    let days = days_since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    [400 * era + year + u64::from(month <= 2), month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
            assert_eq!(since_1970(date), Some(seconds));
        }
    }

    #[test]
    fn milliseconds_are_digits_behind_the_second_and_other_texts_no_moments() {
        assert_eq!(utc_of_milliseconds(1_795_901_787_975), "2026-11-28T21:36:27.975+00:00");
        for wrong in
            ["", "yesterday", "2026-11-28", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-28T21:36Z"]
        {
            assert_eq!(since_1970(wrong), None, "{wrong}");
        }
    }
}
