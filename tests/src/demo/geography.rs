//! Places on the globe, as far as the demo must know what an area query finds.

/// Mean radius of the earth in metres (IUGG).
const EARTH: f64 = 6_371_008.8;

/// A point in WGS 84, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Positive to the east.
    pub longitude: f64,
    /// Positive to the north.
    pub latitude: f64,
}

impl Place {
    /// So many degrees further east and north, to a tenth of a metre, as surveys write it.
    #[must_use]
    pub fn moved(self, east: f64, north: f64) -> Self {
        let exact = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Self {
            longitude: exact(self.longitude + east),
            latitude: exact(self.latitude + north),
        }
    }

    /// Metres to another place on a sphere: within 0.5 % of the ellipsoid that a database measures on.
    #[must_use]
    pub fn metres_to(self, other: Self) -> f64 {
        let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
        let chord = half(self.latitude, other.latitude)
            + self.latitude.to_radians().cos()
                * other.latitude.to_radians().cos()
                * half(self.longitude, other.longitude);
        2.0 * EARTH * chord.sqrt().asin()
    }

    /// Whether it is in the rectangle around `centre` that reaches so many degrees east and north.
    #[must_use]
    pub fn within(self, centre: Self, reach: (f64, f64)) -> bool {
        (self.longitude - centre.longitude).abs() < reach.0
            && (self.latitude - centre.latitude).abs() < reach.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degree_of_latitude_is_111_kilometres_and_of_longitude_less() {
        let here = Place {
            longitude: 16.0,
            latitude: 48.0,
        };
        let north = here.metres_to(here.moved(0.0, 1.0));
        let east = here.metres_to(here.moved(1.0, 0.0));
        assert!((north - 111_195.0).abs() < 1.0, "{north}");
        assert!((east / north - 48_f64.to_radians().cos()).abs() < 1e-3, "{east}");
    }

    #[test]
    fn a_rectangle_has_edges() {
        let centre = Place {
            longitude: 16.0,
            latitude: 48.0,
        };
        assert!(centre.moved(0.009, -0.009).within(centre, (0.01, 0.01)));
        assert!(!centre.moved(0.011, 0.0).within(centre, (0.01, 0.01)));
        assert!(!centre.moved(0.0, -0.011).within(centre, (0.01, 0.01)));
    }
}
