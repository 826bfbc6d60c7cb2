//! Commands about the machine as a whole.

use super::Failure;
use crate::files;
use crate::terminal::Terminal;
use abi::log::Level;
use abi::prelude::*;
use abi::{registry, system};
use core::str::FromStr;
use time::OffsetDateTime;

pub fn dmesg(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (mut levels, mut module, mut with_levels) = (None, None, false);
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().ok_or(Failure::Usage);
        match word {
            "-x" | "--decode" => with_levels = true,
            "-l" | "--level" => levels = Some(value()?.split(',').map(level).collect::<Result<Vec<Level>, _>>()?),
            "--module" => module = Some(value()?),
            "-n" | "--console-level" if arguments.len() == 2 => {
                system::show_log(level(value()?)?);
                return Ok(());
            }
            _ => return Err(Failure::Usage),
        }
    }
    for record in system::log_records(0) {
        let is_meant = levels.as_ref().is_none_or(|levels| levels.contains(&record.level))
            && module.is_none_or(|module| record.source == module);
        if !is_meant {
            continue;
        }
        if with_levels {
            write!(terminal, "{:<5} : ", record.level.as_str().to_lowercase());
        }
        let (seconds, microseconds) = (record.time.as_secs(), record.time.subsec_micros());
        let separator = if record.source.is_empty() { "" } else { ": " };
        writeln!(terminal, "[{seconds:5}.{microseconds:06}] {}{separator}{}", record.source, record.text);
    }
    Ok(())
}

/// The level of this name, as it is here or in Linux.
fn level<L: FromStr>(name: &str) -> Result<L, Failure> {
    let name = if name == "err" { "error" } else { name };
    let unknown =
        || Error::Invalid(format!("there is no level `{name}`: there are error, warn, info, debug and trace"));
    Ok(name.parse().map_err(|_| unknown())?)
}

pub fn date(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let clock =
        registry::first::<dyn Clock>().ok_or(Failure::Missing("the machine has no clock that knows the date"))?;
    writeln!(terminal, "{}", date_and_time(clock.call(|clock| clock.now())?.as_secs())?);
    Ok(())
}

/// A moment in the notation of ISO 8601, in UTC.
pub fn date_and_time(seconds: u64) -> Result<String, Failure> {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let moment = moment.ok_or(Failure::Missing("the clock is beyond the year 9999"))?;
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    Ok(format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month)))
}

pub fn uptime(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let time = Instant::now() - Instant::default();
    writeln!(terminal, "up {}", days_and_time(time.as_secs()));
    Ok(())
}

fn days_and_time(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = match hours / 24 {
        0 => String::new(),
        1 => "1 day, ".into(),
        days => format!("{days} days, "),
    };
    format!("{days}{}:{:02}:{:02}", hours % 24, minutes % 60, seconds % 60)
}

pub fn reboot(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    prepare_for_the_end(terminal);
    Ok(power()?.call(|power| power.reboot())??)
}

pub fn poweroff(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    prepare_for_the_end(terminal);
    Ok(power()?.call(|power| power.power_off())??)
}

/// Has all be written out that was changed. Who asks for the end gets it, whatever comes of that.
fn prepare_for_the_end(terminal: &mut Terminal) {
    if let Err(error) = files::sync() {
        writeln!(terminal, "changes of files can't be written out: {error}");
    }
    terminal.flush();
}

fn power() -> Result<Handle<dyn Power>, Failure> {
    registry::first().ok_or(Failure::Missing("the machine has no power control: no module publishes any"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        // date -u -d @SECONDS +%FT%TZ
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date_and_time(seconds).ok().as_deref(), Some(expected));
        }
        assert!(date_and_time(253_402_300_800).is_err());
        assert!(date_and_time(u64::MAX).is_err());
    }

    #[test]
    fn uptime_counts_days() {
        assert_eq!(days_and_time(5), "0:00:05");
        assert_eq!(days_and_time(3 * 3600 + 62), "3:01:02");
        assert_eq!(days_and_time(86_400), "1 day, 0:00:00");
        assert_eq!(days_and_time(10 * 86_400 + 86_399), "10 days, 23:59:59");
    }
}
