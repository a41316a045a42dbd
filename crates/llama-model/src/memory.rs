//! What the machine has: free memory and cores, as far as limits set on this process allow.

use crate::ModelError;
use std::collections::BTreeSet;
use std::fs;

/// Fails if `need` bytes are not free; `hint` may say what would fit.
pub(crate) fn check(
    what: &'static str,
    need: u64,
    hint: impl FnOnce(u64) -> String,
) -> Result<(), ModelError> {
    let have = available();
    if need <= have {
        return Ok(());
    }
    Err(ModelError::OverBudget { what, need, have, hint: hint(have) })
}

/// Bytes that can be allocated: the least of what the system has free, the cgroup's limit and the address-space
/// limit leave. `u64::MAX` where the system does not say.
pub(crate) fn available() -> u64 {
    let status = read("/proc/self/status");
    let limits = [
        field_kib(&read("/proc/meminfo"), "MemAvailable:"),
        cgroup_memory_left(),
        address_space_left(&read("/proc/self/limits"), field_kib(&status, "VmSize:")),
    ];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Physical cores (not their hardware threads) in this process's affinity mask, within the cgroup's CPU quota.
pub(crate) fn default_threads() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    let status = read("/proc/self/status");
    let allowed =
        status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).map(parse_cpu_list);
    let Some(allowed) = allowed.filter(|cpus| !cpus.is_empty()) else { return logical };
    let cores: BTreeSet<String> = allowed
        .iter()
        .map(|cpu| {
            let siblings =
                read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
            if siblings.is_empty() { cpu.to_string() } else { siblings }
        })
        .collect();
    // available_parallelism() knows the quota.
    cores.len().min(logical).max(1)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of a line `name   123 kB`, in bytes.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the cgroup (v2, then v1) leaves of its memory limit.
fn cgroup_memory_left() -> Option<u64> {
    [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ]
    .into_iter()
    .find_map(|(max, used)| {
        let max = read(max).trim().parse::<u64>().ok()?;
        Some(max.saturating_sub(read(used).trim().parse().unwrap_or(0)))
    })
}

/// What `ulimit -v` leaves.
fn address_space_left(limits: &str, used: Option<u64>) -> Option<u64> {
    let line = limits.lines().find_map(|l| l.strip_prefix("Max address space"))?;
    let soft = line.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(soft.saturating_sub(used.unwrap_or(0)))
}

/// `0-3,8` as numbers.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_cpu_list(""), [0; 0]);
    }

    #[test]
    fn fields_are_kib() {
        assert_eq!(
            field_kib("A: 1 kB\nMemAvailable:  2048 kB\n", "MemAvailable:"),
            Some(2048 * 1024)
        );
        assert_eq!(field_kib("", "MemAvailable:"), None);
    }

    #[test]
    fn address_space_limit() {
        let text = "Max cpu time  unlimited unlimited seconds\nMax address space  1000000  unlimited  bytes\n";
        assert_eq!(address_space_left(text, Some(400_000)), Some(600_000));
        assert_eq!(address_space_left("Max address space unlimited unlimited bytes", None), None);
    }

    #[test]
    fn too_much_is_refused_with_the_hint() {
        let error = check("the test", u64::MAX, |_| "; try less".to_owned());
        assert!(matches!(error, Err(ModelError::OverBudget { hint, .. }) if hint == "; try less"));
    }
}
