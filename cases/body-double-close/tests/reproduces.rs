//! x
#[test]
fn x() {
    for _ in 0..20 {
        let a = body_double_close::near_misses::ALL[0].1;
        let r=spec::body_double_close::check(a);
        assert!(r.all_kept());
    }
}
