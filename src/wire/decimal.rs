//! Numbers in decimal. Every message has one or more, and the standard library's formatting took two thirds of the
//! time in which a short text became a frame.

/// The digits of a number, with its sign if it is negative.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The digits are at the end.
    bytes: [u8; LONGEST],
    start: usize,
}

/// Characters of the longest: `u64::MAX` and `i64::MIN`.
const LONGEST: usize = 20;

impl Decimal {
    /// Of a number that is not negative.
    pub fn new(number: u64) -> Decimal {
        let (mut bytes, mut start, mut rest) = ([0; LONGEST], LONGEST, number);
        loop {
            start -= 1;
            bytes[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return Decimal { bytes, start };
            }
        }
    }

    /// Of any number.
    pub fn signed(number: i64) -> Decimal {
        let mut decimal = Decimal::new(number.unsigned_abs());
        if number < 0 {
            decimal.start -= 1;
            decimal.bytes[decimal.start] = b'-';
        }
        decimal
    }

    /// The characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_are_as_the_standard_library_has_them() {
        let powers = (0..u64::MAX.ilog10() + 1).map(|digits| 10u64.pow(digits));
        for number in powers.flat_map(|power| [power - 1, power, 7 * (power / 7)]).chain([u64::MAX])
        {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
            for signed in [number as i64, (number as i64).wrapping_neg()] {
                assert_eq!(Decimal::signed(signed).as_bytes(), signed.to_string().as_bytes());
            }
        }
        for number in [i64::MIN, i64::MIN + 1, i64::MAX] {
            assert_eq!(Decimal::signed(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
