//! Whether two samples of times can be told apart.

/// The area under the ROC curve: the chance that one of `a` is larger than one of `b`, ties by half. A half if nothing can be told
/// (Mann and Whitney 1947). Panics on nothing; empty samples give NaN.
pub fn auc(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = a.iter().map(|x| (*x, true)).chain(b.iter().map(|x| (*x, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    // The sum of the ranks of `a`; those of one value share theirs.
    let (mut rank_sum, mut at) = (0.0, 0);
    while at < all.len() {
        let same = all[at..].iter().take_while(|x| x.0 == all[at].0).count();
        let rank = at as f64 + (same as f64 + 1.0) / 2.0;
        rank_sum += rank * all[at..at + same].iter().filter(|x| x.1).count() as f64;
        at += same;
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    (rank_sum - n * (n + 1.0) / 2.0) / (n * m)
}

/// The standard deviation of [`auc`] for samples of these sizes that come from one distribution.
pub fn deviation(a: usize, b: usize) -> f64 {
    let (a, b) = (a as f64, b as f64);
    ((a + b + 1.0) / (12.0 * a * b)).sqrt()
}

/// The middle one.
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rng::{self, SeededRng};

    #[test]
    fn what_is_above_is_told_and_what_is_alike_is_not() {
        assert_eq!(auc(&[3.0, 4.0], &[1.0, 2.0]), 1.0);
        assert_eq!(auc(&[1.0, 2.0], &[3.0, 4.0]), 0.0);
        assert_eq!(auc(&[1.0, 1.0], &[1.0, 1.0, 1.0]), 0.5);
        // By hand: of six pairs two are won, one is even.
        assert_eq!(auc(&[2.0, 3.0], &[1.0, 3.0, 4.0]), 2.5 / 6.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn chance_stays_within_its_band() {
        let rng = SeededRng::new(7);
        let sample = |n| (0..n).map(|_| f64::from(u16::from_le_bytes(rng::bytes(&rng)))).collect::<Vec<_>>();
        let band = 1.96 * deviation(100, 150);
        let outside = (0..1000).filter(|_| (auc(&sample(100), &sample(150)) - 0.5).abs() > band).count();
        assert!((30..=75).contains(&outside), "{outside} of 1000, where 50 are expected");
    }
}
