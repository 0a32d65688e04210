//! v1's numbers as v2's and back.

/// v1's `cpu.shares` (2 to 262144, 1024 by default) as v2's `cpu.weight` (1 to 10000, 100 by default).
///
/// The runtimes agreed on the parabola through those three points in log space (log2 of shares, log10 of weight):
/// (1, 0), (10, 2), (18, 4). With e = a·l² + b·l + c: a = 1/612, b = 125/612, c = -126/612.
pub fn cpu_weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    10_f64.powf((log * log + 125.0 * log - 126.0) / 612.0).ceil() as u64
}

/// The smallest `cpu.shares` with this `cpu.weight`, or with the next one that any shares have: the inverse of
/// [`cpu_weight_of_shares`], which rounds up.
pub fn cpu_shares_of_weight(weight: u64) -> u64 {
    if weight <= 1 {
        return 2;
    }
    if weight >= 10_000 {
        return 262_144;
    }
    let (mut low, mut high) = (2, 262_144);
    while low < high {
        let middle = (low + high) / 2;
        if cpu_weight_of_shares(middle) < weight { low = middle + 1 } else { high = middle }
    }
    // Of all shares that mean the default weight, the default is meant.
    if cpu_weight_of_shares(1024) == weight { 1024 } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_fixed_points_and_the_ends() {
        for (shares, weight) in [(0, 1), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (1 << 40, 10_000)] {
            assert_eq!(cpu_weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn it_grows_and_stays_in_range() {
        let mut last = 1;
        for shares in 2..=262_144 {
            let weight = cpu_weight_of_shares(shares);
            assert!((last..=10_000).contains(&weight), "{shares}");
            last = weight;
        }
    }

    #[test]
    fn there_and_back() {
        for weight in 1..=10_000 {
            let back = cpu_weight_of_shares(cpu_shares_of_weight(weight));
            // Small shares are sparser than weights around them: the next weight that exists.
            assert!(back >= weight && back <= weight + 5, "{weight}: {back}");
        }
        for (weight, shares) in [(1, 2), (100, 1024), (10_000, 262_144)] {
            assert_eq!(cpu_shares_of_weight(weight), shares);
        }
    }
}
