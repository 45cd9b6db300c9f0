//! Bundles as the operator writes them and services read them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use mim_bundle::{MANIFEST, MAX_SIZE, Packed, Parts, SLOT_SIZE, SLOTS, TooLarge, Trouble, pack, read, slot};
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

fn write(folder: &Path, packed: &Packed) {
    std::fs::write(folder.join(MANIFEST), &packed.manifest).unwrap();
    for (number, piece) in packed.slots.iter().enumerate() {
        std::fs::write(folder.join(slot(number)), piece).unwrap();
    }
}

fn parts(texts: &[(&str, &str)]) -> Parts {
    texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!(text)))
        .collect()
}

/// Text that does not compress.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    std::iter::repeat_with(next)
        .filter(|c| *c != '"' && *c != '\\')
        .take(length)
        .collect()
}

#[test]
fn what_was_packed_is_read_and_the_one_at_hand_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read(folder.path(), None), Err(Trouble::Absent)));
    let parts = parts(&[("models", "a"), ("policy", "b")]);
    let packed = pack(&parts).unwrap();
    write(folder.path(), &packed);
    let bundle = read(folder.path(), None).unwrap().unwrap();
    assert_eq!((bundle.parts, &bundle.digest), (parts, &packed.digest));
    assert!(read(folder.path(), Some(&packed.digest)).unwrap().is_none());
    assert!(read(folder.path(), Some("another")).unwrap().is_some());
}

#[test]
fn pieces_of_two_bundles_are_none_until_all_are_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let of = |seed| pack(&parts(&[("models", &noise(seed, 2 * SLOT_SIZE))])).unwrap();
    let (old, new) = (of(1), of(2));
    assert!(old.slots.len() >= 2 && new.slots.len() >= 2);
    write(folder.path(), &old);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path(MANIFEST), &new.manifest).unwrap();
    assert!(matches!(read(folder.path(), None), Err(Trouble::Mixed(name)) if name == "slot-0"));
    std::fs::write(path("slot-0"), &new.slots[0]).unwrap();
    assert!(matches!(read(folder.path(), None), Err(Trouble::Mixed(name)) if name == "slot-1"));
    std::fs::remove_file(path("slot-1")).unwrap();
    assert!(matches!(read(folder.path(), None), Err(Trouble::Mixed(name)) if name == "slot-1"));
    write(folder.path(), &new);
    assert_eq!(read(folder.path(), None).unwrap().unwrap().digest, new.digest);
}

#[test]
fn a_thousand_models_of_20_kb_fit_and_what_does_not_is_refused() {
    // As schemas are: many words again and again, and some of their own.
    let model = |n: usize| {
        let property = |p: usize| {
            let name = noise((n * 100 + p) as u64, 12);
            let text = format!("Property. {name}: the value of this observation, as measured by the station");
            (
                name,
                json!({"type": "number", "minimum": 0, "description": text, "x-ngsi": {"type": "Property"}}),
            )
        };
        (format!("model-{n}"), (0..120).map(property).collect())
    };
    let models: Parts = (0..1_000).map(model).collect();
    let mean = models
        .values()
        .map(|model| model.to_string().len())
        .sum::<usize>()
        / models.len();
    assert!(mean > 20_000, "{mean}");
    let packed = pack(&models).unwrap();
    assert!(packed.slots.len() <= SLOTS && packed.slots.iter().all(|piece| piece.len() <= SLOT_SIZE));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &packed);
    assert_eq!(read(folder.path(), None).unwrap().unwrap().parts, models);

    let noisy = pack(&parts(&[("models", &noise(3, 12_000_000))]));
    assert!(matches!(noisy, Err(TooLarge::Compressed(_))), "{noisy:?}");
    let long = pack(&parts(&[("models", &"a".repeat(MAX_SIZE))]));
    assert!(matches!(long, Err(TooLarge::Whole(_))));
}

#[test]
fn the_digest_is_of_the_parts_and_the_same_for_the_same() {
    let one = pack(&parts(&[("a", "1"), ("b", "2")])).unwrap();
    assert_eq!(one, pack(&parts(&[("b", "2"), ("a", "1")])).unwrap());
    assert_ne!(
        one.digest,
        pack(&parts(&[("a", "1"), ("b", "3")])).unwrap().digest
    );
    assert_eq!(one.digest.len(), 64);
}

#[test]
fn what_is_no_bundle_is_refused_in_bounded_memory() {
    let good = pack(&parts(&[("a", "1")])).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let manifest = text(&good.manifest);
    for (wrong, words) in [
        ("not json".to_owned(), "manifest.json"),
        (
            manifest.replace("\"version\":1", "\"version\":2"),
            "its version is 2",
        ),
        (
            manifest.replace("\"version\":1", "\"version\":1,\"new\":1"),
            "unknown field",
        ),
        (
            manifest.replace(&good.digest, &"0".repeat(64)),
            "not what the manifest names",
        ),
        (" ".repeat(100_000), "more than"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &good);
        std::fs::write(folder.path().join(MANIFEST), wrong).unwrap();
        let found = read(folder.path(), None).unwrap_err();
        assert!(
            matches!(found, Trouble::Malformed { .. }) && found.to_string().contains(words),
            "{found}"
        );
    }
    // A piece that says to be 1 GiB: the manifest says how much it may be, and that is bounded.
    let bomb = pack(&parts(&[("a", &"a".repeat(30_000_000))])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &bomb);
    let size = serde_json::from_slice::<serde_json::Value>(&bomb.manifest).unwrap()["size"].to_string();
    std::fs::write(
        folder.path().join(MANIFEST),
        text(&bomb.manifest).replace(&size, "1000"),
    )
    .unwrap();
    assert!(matches!(
        read(folder.path(), None),
        Err(Trouble::Malformed { .. })
    ));
    std::fs::write(
        folder.path().join(MANIFEST),
        text(&bomb.manifest).replace(&size, "99999999999"),
    )
    .unwrap();
    assert!(
        read(folder.path(), None)
            .unwrap_err()
            .to_string()
            .contains("more than there may be")
    );
}

proptest! {
    #[test]
    fn any_change_of_any_byte_is_seen(text in ".{0,300}", place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let packed = pack(&parts(&[("a", &text)])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &packed);
        let mut piece = packed.slots[0].clone();
        let place = place.index(piece.len());
        piece[place] ^= 1 << bit;
        std::fs::write(folder.path().join("slot-0"), piece).unwrap();
        prop_assert!(matches!(read(folder.path(), None), Err(Trouble::Mixed(_))));
    }
}
