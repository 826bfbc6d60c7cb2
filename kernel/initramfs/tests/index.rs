//! The index says which modules claim what, and a bad line costs only itself.

use initramfs::{Index, SERVICE, write_index};

const TEXT: &[u8] = b"# made by hand\n\
    arm,pl011 arm-pl011\n\
    \n\
    virtio,mmio virtio-net\r\n\
    only-one-word\n\
    three words here\n\
    \xff\xfe virtio-net\n\
      service   shell\n\
    virtio,mmio virtio-blk\n\
    service net";

#[test]
fn claims_are_found_in_the_order_of_the_text() {
    let index = Index::parse(TEXT);
    let modules = |compatible| index.modules_for(compatible).collect::<Vec<_>>();
    assert_eq!(modules("arm,pl011"), ["arm-pl011"]);
    assert_eq!(modules("virtio,mmio"), ["virtio-net", "virtio-blk"]);
    assert_eq!(modules("arm,pl01"), [""; 0]);
    assert_eq!(modules("arm,pl0110"), [""; 0]);
    assert_eq!(index.services().collect::<Vec<_>>(), ["shell", "net"]);
}

#[test]
fn bad_lines_are_listed() {
    let index = Index::parse(TEXT);
    let sentences: Vec<_> = index.bad_lines().iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "line 5 of modules/index should be '<compatible> <module>', found 'only-one-word': it's ignored",
            "line 6 of modules/index should be '<compatible> <module>', found 'three words here': it's ignored",
            "line 7 of modules/index should be '<compatible> <module>', found '\u{fffd}\u{fffd} virtio-net': it's \
             ignored",
        ]
    );
}

#[test]
fn conflicts_are_listed_but_services_are_none() {
    let index = Index::parse(TEXT);
    let sentences: Vec<_> = index.conflicts().map(|conflict| conflict.to_string()).collect();
    assert_eq!(sentences, ["'virtio,mmio' is claimed by several modules: virtio-net, virtio-blk"]);
}

#[test]
fn services_are_listed_by_what_they_wait_for() {
    let index = Index::parse(b"service:BlockDevice ext\nservice shell\nservice:BlockDevice fat\nservice:Block other\n");
    assert_eq!(index.services().collect::<Vec<_>>(), ["shell"]);
    assert_eq!(index.services_on("BlockDevice").collect::<Vec<_>>(), ["ext", "fat"]);
    assert_eq!(index.services_on("Clock").count(), 0);
    assert_eq!(index.conflicts().count(), 0);
}

#[test]
fn what_is_written_is_read() {
    let claims = [("virtio,mmio", "virtio-net"), (SERVICE, "shell"), ("arm,pl011", "arm-pl011"), (SERVICE, "shell")];
    let text = write_index(claims);
    assert_eq!(text, "arm,pl011 arm-pl011\nservice shell\nvirtio,mmio virtio-net\n");
    let index = Index::parse(text.as_bytes());
    assert!(index.bad_lines().is_empty());
    for (claim, module) in claims {
        assert_eq!(index.modules_for(claim).collect::<Vec<_>>(), [module]);
    }
}

#[test]
fn an_empty_index_claims_nothing() {
    let index = Index::parse(b"");
    assert_eq!(index.services().count() + index.conflicts().count() + index.bad_lines().len(), 0);
}

#[test]
fn a_damaged_index_is_an_index() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut text = TEXT.to_vec();
        for _ in 0..=random.usize(..8) {
            text[random.usize(..TEXT.len())] = [random.u8(..), b'\n', b' ', b'#'][random.usize(..4)];
        }
        let index = Index::parse(&text);
        assert!(index.bad_lines().iter().all(|line| (1..=text.len() + 1).contains(&line.number)));
        for conflict in index.conflicts() {
            assert!(conflict.modules().eq(index.modules_for(conflict.compatible)));
            assert!(conflict.modules().count() >= 2);
        }
        index.services().for_each(drop);
    }
}
