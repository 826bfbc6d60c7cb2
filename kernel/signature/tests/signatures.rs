//! What was signed is taken, whoever signed it by the standard, and nothing else is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ed25519_dalek::{Digest, Sha512, SigningKey};
use fastrand::Rng;
use module_signature::{Error, LENGTH, MAGIC, PublicKey, Signed, UnusableKey, sign, split, verify};

/// Where a trailer's parts begin, in bytes from its start.
const KEY: usize = 8;
const SIGNATURE: usize = 16;
const END: usize = 80;

/// The first secret key in RFC 8032, section 7.1, and its public key.
const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// What another implementation (PyCryptodome 4.4) makes with this key for the bytes 0 to 255 and this version.
const VERSION: u64 = 0x0102_0304_0506_0708;
const TRAILER: &str = "08070605040302010e02a50225b4baaae24739b68a756bb2286f6d954f0e95225c664abb4516825b\
                       5e223e0ee65de04aa1425e2b2f0807dc528198c3b8bd91042889174f0d5c998078ddc5773b4f9701\
                       6c6f636b737465702d65643235353139";

fn bytes<const SIZE: usize>(digits: &str) -> [u8; SIZE] {
    assert_eq!(digits.len(), 2 * SIZE);
    std::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..][..2], 16).unwrap())
}

fn secret() -> SigningKey {
    SigningKey::from_bytes(&bytes(SECRET))
}

fn public() -> PublicKey {
    PublicKey::new(&bytes(PUBLIC)).unwrap()
}

fn object() -> Vec<u8> {
    (0..=255).collect()
}

fn wrong() -> Error {
    Error::Wrong { key: public().identifier() }
}

#[test]
fn another_implementation_makes_the_same_signature() {
    let signed = sign(&object(), VERSION, &secret());
    assert_eq!(signed, [object().as_slice(), &bytes::<LENGTH>(TRAILER)].concat());
    assert_eq!(verify(&signed, &public()), Ok(Signed { object: &object(), version: VERSION }));
}

#[test]
fn the_library_agrees_with_the_standard_on_prehashed_messages() {
    // RFC 8032, section 7.3.
    let secret = SigningKey::from_bytes(&bytes("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"));
    let signature = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
                     31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406";
    let made = secret.sign_prehashed(Sha512::new_with_prefix("abc"), None).unwrap();
    assert_eq!(made.to_bytes(), bytes(signature));
    assert!(secret.verifying_key().verify_prehashed_strict(Sha512::new_with_prefix("abc"), None, &made).is_ok());
}

#[test]
fn what_is_signed_is_taken_and_split() {
    let mut random = Rng::with_seed(1);
    // SHA-512 pads differently from some of these sizes on.
    for size in (0..4).chain(90..130).chain([4095, 4096, 4097]) {
        let object: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        let version = random.u64(..);
        let signed = sign(&object, version, &secret());
        assert_eq!(signed.len(), object.len() + LENGTH);
        assert_eq!(verify(&signed, &public()), Ok(Signed { object: &object, version }));
        let (found, trailer) = split(&signed);
        assert_eq!(found, object);
        assert_eq!(trailer.map(|trailer| (trailer.version, trailer.key)), Some((version, public().identifier())));
        assert_eq!(split(&object), (object.as_slice(), None));
    }
}

#[test]
fn a_module_with_any_byte_changed_is_refused() {
    let mut random = Rng::with_seed(2);
    let signed = sign(&object()[..32], VERSION, &secret());
    let trailer = signed.len() - LENGTH;
    for index in 0..signed.len() {
        let mut changed = signed.clone();
        changed[index] ^= random.u8(1..);
        let error = verify(&changed, &public()).unwrap_err();
        match index.checked_sub(trailer) {
            Some(KEY..SIGNATURE) => {
                let found = split(&changed).1.unwrap().key;
                assert_ne!(found, public().identifier());
                assert_eq!(error, Error::OtherKey { expected: public().identifier(), found });
            }
            Some(END..) => assert_eq!(error, Error::Unsigned),
            _ => assert_eq!(error, wrong(), "byte {index}"),
        }
    }
}

#[test]
fn a_module_that_is_cut_short_or_continued_is_refused() {
    let signed = sign(&object()[..32], VERSION, &secret());
    for size in 0..signed.len() {
        assert_eq!(verify(&signed[..size], &public()), Err(Error::Unsigned), "the first {size} bytes");
        let last = verify(&signed[signed.len() - size..], &public());
        assert_eq!(last.unwrap_err(), if size < LENGTH { Error::Unsigned } else { wrong() }, "the last {size} bytes");
    }
    for size in 1..2 * LENGTH {
        let continued = [signed.clone(), vec![0; size]].concat();
        assert_eq!(verify(&continued, &public()), Err(Error::Unsigned), "{size} more bytes");
    }
    let signed_twice = [signed.as_slice(), &bytes::<LENGTH>(TRAILER)].concat();
    assert_eq!(verify(&signed_twice, &public()), Err(wrong()));
}

#[test]
fn a_trailer_fits_its_own_object_only() {
    let one = sign(&object(), VERSION, &secret());
    let other = sign(&object()[1..], VERSION, &secret());
    let exchanged = [&other[..255], &one[256..]].concat();
    assert_eq!(verify(&exchanged, &public()), Err(wrong()));
}

#[test]
fn a_module_of_another_version_is_not_what_was_signed() {
    let old = sign(&object(), VERSION, &secret());
    let new = sign(&object(), VERSION + 1, &secret());
    let mut renewed = old.clone();
    renewed[256..256 + KEY].copy_from_slice(&new[256..256 + KEY]);
    assert_eq!(split(&renewed).1.unwrap().version, VERSION + 1);
    assert_eq!(verify(&renewed, &public()), Err(wrong()));
}

#[test]
fn a_module_of_another_key_is_refused_even_if_it_names_ours() {
    let other = SigningKey::from_bytes(&[7; 32]);
    let mut signed = sign(&object(), VERSION, &other);
    let expected = public().identifier();
    let found = PublicKey::new(other.verifying_key().as_bytes()).unwrap().identifier();
    assert_eq!(verify(&signed, &public()), Err(Error::OtherKey { expected, found }));
    signed[256 + KEY..256 + SIGNATURE].copy_from_slice(&bytes::<LENGTH>(TRAILER)[KEY..SIGNATURE]);
    assert_eq!(verify(&signed, &public()), Err(wrong()));
}

#[test]
fn a_signature_made_for_something_else_is_refused() {
    use ed25519_dalek::Signer;

    let signed = sign(&object(), VERSION, &secret());
    let covered = &signed[..256 + SIGNATURE];
    let hash = || Sha512::new_with_prefix(covered);
    let others = [
        secret().sign(covered),
        secret().sign_prehashed(hash(), None).unwrap(),
        secret().sign_prehashed(hash(), Some(b"lockstep")).unwrap(),
    ];
    for other in others {
        let forged = [covered, &other.to_bytes(), MAGIC].concat();
        assert_eq!(verify(&forged, &public()), Err(wrong()));
    }
}

#[test]
fn of_each_signature_one_encoding_is_taken() {
    // The scalar S means the same with the group's order added to it (RFC 8032, section 8.4).
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut signed = sign(&object(), VERSION, &secret());
    let scalar = &mut signed[256 + END - 32..256 + END];
    let mut carry = 0;
    for (byte, add) in scalar.iter_mut().zip(bytes::<32>(ORDER)) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(verify(&signed, &public()), Err(wrong()));
}

#[test]
fn a_signature_whose_point_is_of_small_order_is_refused() {
    // The neutral element for R, and the S for it that satisfies the equation: PyCryptodome accepts this one.
    const R: &str = "0100000000000000000000000000000000000000000000000000000000000000";
    const S: &str = "dac55a5ee5c3815333e4f55a4d315c852044e0340c858cce4734e491609d3b0d";
    let mut signed = sign(&object(), VERSION, &secret());
    signed[256 + SIGNATURE..256 + END].copy_from_slice(&[bytes::<32>(R), bytes(S)].concat());
    assert_eq!(verify(&signed, &public()), Err(wrong()));
}

#[test]
fn a_key_that_anybody_can_sign_for_is_refused() {
    // The eight points of small order, and encodings of theirs that are not canonical.
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    // And one that is no point at all.
    let none = "0200000000000000000000000000000000000000000000000000000000000000";
    for key in small.into_iter().chain([none]) {
        assert_eq!(PublicKey::new(&bytes(key)), Err(UnusableKey(bytes(key))), "{key}");
    }
}

#[test]
fn signing_again_replaces_the_trailer() {
    let signed = sign(&object(), VERSION, &secret());
    let other = SigningKey::from_bytes(&[7; 32]);
    assert_eq!(sign(&signed, VERSION + 1, &other), sign(&object(), VERSION + 1, &other));
}

#[test]
fn no_bytes_make_the_check_panic_or_pass() {
    let mut random = Rng::with_seed(3);
    let identifier = bytes::<LENGTH>(TRAILER)[KEY..SIGNATURE].to_vec();
    for round in 0..100_000 {
        let size = random.usize(..2 * LENGTH);
        let mut garbage: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        if size >= LENGTH && random.bool() {
            garbage[size - MAGIC.len()..].copy_from_slice(MAGIC);
            // Only few get as far as to the arithmetic, which is slow without optimization.
            if round % 200 == 0 {
                garbage[size - LENGTH + KEY..size - END].copy_from_slice(&identifier);
            }
        }
        let (object, trailer) = split(&garbage);
        assert_eq!(object.len() + trailer.map_or(0, |_| LENGTH), size);
        assert!(verify(&garbage, &public()).is_err());
    }
}

#[test]
fn errors_say_whose_fault_it_is() {
    let other = PublicKey::new(SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()).unwrap().identifier();
    let key = public().identifier();
    assert_eq!(key.to_string(), "0e02a50225b4baaa");
    let sentences = [
        (
            Error::Unsigned,
            "the module is not signed, or has lost its end: expected the file to end with \"lockstep-ed25519\""
                .to_owned(),
        ),
        (
            Error::OtherKey { expected: key, found: other },
            format!("the module is signed with key {other}, and the only key trusted here is 0e02a50225b4baaa"),
        ),
        (
            Error::Wrong { key },
            "the module is not what was signed with key 0e02a50225b4baaa: the file was changed, or the signature is \
             forged"
                .to_owned(),
        ),
    ];
    for (error, sentence) in sentences {
        assert_eq!(error.to_string(), sentence);
    }
    let unusable = PublicKey::new(&[0; 32]).unwrap_err().to_string();
    let zeros = "00".repeat(32);
    assert_eq!(
        unusable,
        format!("the public key {zeros} is useless: expected a point of ed25519's curve, and not one of small order")
    );
}
