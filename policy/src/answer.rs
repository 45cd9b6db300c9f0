//! Three-valued logic (Kleene's): what is not known stays so, unless the rest decides.

/// Whether something is so. Ordered: `and` is the least of several, `or` the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// It is not, whatever else comes to be known.
    No,
    /// It depends on what is not known.
    Unknown,
    /// It is, whatever else comes to be known.
    Yes,
}

impl Answer {
    /// Yes or no.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Yes, or that what is not known may make it so.
    pub fn or_unknown(holds: bool, is_all_known: bool) -> Self {
        match (holds, is_all_known) {
            (true, _) => Self::Yes,
            (false, true) => Self::No,
            (false, false) => Self::Unknown,
        }
    }

    /// The opposite.
    pub fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }

    /// Both, the second asked only where it matters.
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::No { self } else { self.min(other()) }
    }

    /// Any of several; no where there are none.
    pub fn any(several: impl Iterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for one in several {
            best = best.max(one);
            if best == Self::Yes {
                break;
            }
        }
        best
    }

    /// All of several; yes where there are none.
    pub fn all(several: impl Iterator<Item = Self>) -> Self {
        Self::any(several.map(Self::not)).not()
    }
}
