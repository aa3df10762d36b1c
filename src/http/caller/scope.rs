use std::fmt;

/// What a caller may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read sessions and judge tokens.
    Read,
    /// Change and end the sessions that it can name.
    Write,
    /// List and end the whole fleet's sessions.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The name in the claim `scope`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "sessions:read",
            Self::Write => "sessions:write",
            Self::Admin => "sessions:admin",
        }
    }

    /// The highest scope that a claim names; other applications' scopes are passed over.
    pub(super) fn highest(claim: &str) -> Option<Self> {
        let named = claim.split(' ');
        named
            .filter_map(|name| Self::ALL.into_iter().find(|scope| scope.as_str() == name))
            .max()
    }

    /// The challenge that goes with a 403 (RFC 6750, section 3.1).
    pub(in crate::http) fn challenge(self) -> &'static str {
        match self {
            Self::Read => r#"Bearer error="insufficient_scope", scope="sessions:read""#,
            Self::Write => r#"Bearer error="insufficient_scope", scope="sessions:write""#,
            Self::Admin => r#"Bearer error="insufficient_scope", scope="sessions:admin""#,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_scope_counts_and_foreign_ones_do_not() {
        assert_eq!(Scope::highest("sessions:read sessions:admin"), Some(Scope::Admin));
        assert_eq!(Scope::highest("email sessions:write"), Some(Scope::Write));
        for none in [
            "",
            "sessions",
            "sessions:readx",
            "sessions:read,sessions:write",
            "SESSIONS:READ",
        ] {
            assert_eq!(Scope::highest(none), None, "{none}");
        }
        assert!(Scope::Admin > Scope::Write && Scope::Write > Scope::Read);
    }
}
