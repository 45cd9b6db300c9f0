//! Directions in space, and positions on the unit sphere.

use geo::Coord;
use std::ops::{Add, Mul, Sub};

/// A vector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vector {
    x: f64,
    y: f64,
    z: f64,
}

impl Vector {
    /// The axis of the earth.
    pub const NORTH: Self = Self {
        x: 0.0,
        y: 0.0,
        z: 1.0,
    };
    /// Where longitude and latitude are 0.
    pub const ORIGIN: Self = Self {
        x: 1.0,
        y: 0.0,
        z: 0.0,
    };

    /// The position on the unit sphere of a longitude and a latitude in degrees.
    pub fn of(at: Coord) -> Self {
        let (longitude, latitude) = (at.x.to_radians(), at.y.to_radians());
        Self {
            x: latitude.cos() * longitude.cos(),
            y: latitude.cos() * longitude.sin(),
            z: latitude.sin(),
        }
    }

    /// Longitude and latitude in degrees.
    pub fn coord(self) -> Coord {
        Coord {
            x: self.y.atan2(self.x).to_degrees(),
            y: self.z.atan2(self.x.hypot(self.y)).to_degrees(),
        }
    }

    /// The scalar product.
    pub fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    /// The vector product.
    pub fn cross(self, other: Self) -> Self {
        Self {
            x: self.y * other.z - self.z * other.y,
            y: self.z * other.x - self.x * other.z,
            z: self.x * other.y - self.y * other.x,
        }
    }

    /// Its length.
    pub fn length(self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The vector of length 1 in the same direction; `None` where it has none.
    pub fn unit(self) -> Option<Self> {
        let length = self.length();
        (length > 1e-15).then(|| self * (1.0 / length))
    }
}

impl Add for Vector {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            x: self.x + other.x,
            y: self.y + other.y,
            z: self.z + other.z,
        }
    }
}

impl Sub for Vector {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other * -1.0
    }
}

impl Mul<f64> for Vector {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            x: self.x * factor,
            y: self.y * factor,
            z: self.z * factor,
        }
    }
}
