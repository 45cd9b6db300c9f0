//! Which prefixes an IRI starts with, found in time that hardly depends on how many prefixes there are.
//!
//! Prefixes are sorted by their IRI, and each knows the longest other one that its own IRI starts with. Whatever an IRI
//! starts with then stands in one chain, which begins at the last prefix that sorts before the IRI.

/// How many prefixes are tried for one IRI. A name is nearly always right with the first.
const MAX_TRIED: usize = 8;

/// Prefixes by the IRI that they stand for; one for each IRI.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<Prefix>);

#[derive(Debug)]
struct Prefix {
    iri: String,
    name: String,
    /// Where the longest other prefix is that this IRI starts with.
    parent: Option<usize>,
}

impl Prefixes {
    /// Of pairs of name and IRI. Where several names stand for one IRI, the first in the alphabet is used.
    pub(super) fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.sort_unstable_by(|(a, of_a), (b, of_b)| (of_a, a).cmp(&(of_b, b)));
        pairs.dedup_by(|(_, later), (_, earlier)| later == earlier);
        let mut sorted: Vec<Prefix> = Vec::with_capacity(pairs.len());
        // The chain of the prefix before; those that this one does not start with have no more children.
        let mut open: Vec<usize> = Vec::new();
        for (at, (name, iri)) in pairs.into_iter().enumerate() {
            while open
                .last()
                .and_then(|parent| sorted.get(*parent))
                .is_some_and(|parent| !iri.starts_with(&parent.iri))
            {
                open.pop();
            }
            let parent = open.last().copied();
            open.push(at);
            sorted.push(Prefix { iri, name, parent });
        }
        Self(sorted)
    }

    /// Prefixes with what they leave of the IRI, which is not empty; that of the longest IRI first, and only so many.
    pub(super) fn of<'p>(&'p self, iri: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> {
        let before = self.0.partition_point(|prefix| prefix.iri.as_str() < iri);
        let first = before.checked_sub(1).and_then(|at| self.0.get(at));
        let shared = first.map_or(0, |prefix| shared(&prefix.iri, iri));
        std::iter::successors(first, |prefix| prefix.parent.and_then(|at| self.0.get(at)))
            .filter(move |prefix| prefix.iri.len() <= shared)
            .filter_map(|prefix| Some((prefix.name.as_str(), iri.get(prefix.iri.len()..)?)))
            .take(MAX_TRIED)
    }

    /// How many bytes of memory they take, roughly.
    pub(super) fn weight(&self) -> usize {
        const OF_PREFIX: usize = 128;
        self.0
            .iter()
            .map(|prefix| prefix.iri.len() + prefix.name.len() + OF_PREFIX)
            .sum()
    }
}

/// How many bytes two texts have in common at their beginning.
fn shared(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn prefixes(pairs: &[(&str, &str)]) -> Prefixes {
        Prefixes::new(
            pairs
                .iter()
                .map(|(n, i)| ((*n).to_owned(), (*i).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_longest_comes_first() {
        let found = prefixes(&[
            ("a", "urn:"),
            ("b", "urn:x:"),
            ("c", "urn:x:y:"),
            ("d", "urn:x:z:"),
            ("e", "urn:x:"),
        ]);
        let of = |iri| found.of(iri).collect::<Vec<_>>();
        assert_eq!(of("urn:x:y:1"), [("c", "1"), ("b", "y:1"), ("a", "x:y:1")]);
        assert_eq!(of("urn:x:yy"), [("b", "yy"), ("a", "x:yy")]);
        assert_eq!(of("urn:x:"), [("a", "x:")]);
        assert!(of("ur").is_empty() && of("zzz").is_empty());
    }

    #[test]
    fn the_work_hardly_depends_on_how_many_there_are() {
        let of = |count: usize| {
            Prefixes::new(
                (0..count)
                    .map(|n| (format!("p{n}"), format!("https://schema.org/{n:06}/")))
                    .collect(),
            )
        };
        let timed = |prefixes: &Prefixes| -> Duration {
            let started = Instant::now();
            for n in 0..2000 {
                assert!(
                    prefixes
                        .of(&format!("https://schema.org/name{n}"))
                        .next()
                        .is_none()
                );
            }
            started.elapsed()
        };
        let (few, many) = (of(10), of(50_000));
        let (of_few, of_many) = (timed(&few), timed(&many));
        // Looking at each of them is five thousand times the work.
        assert!(
            of_many < of_few * 200 + Duration::from_millis(50),
            "{of_few:?} {of_many:?}"
        );
    }

    proptest! {
        #[test]
        fn all_that_an_iri_starts_with_are_found(iris in prop::collection::btree_set("[ab]{1,4}", 0..12), iri in "[ab]{0,6}") {
            let pairs: Vec<_> = iris.iter().map(|i| (format!("p{i}"), i.clone())).collect();
            let mut expected: Vec<_> = iris.iter().filter(|i| iri.starts_with(*i) && **i != iri).cloned().collect();
            expected.sort_by_key(|i| std::cmp::Reverse(i.len()));
            let found = Prefixes::new(pairs);
            let found: Vec<_> = found.of(&iri).map(|(name, _)| name[1..].to_owned()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
