//! x
use spec::leaked_permit::check;
#[test]
fn a_b() {
    let t = std::time::Instant::now();
    let r = check(leaked_permit_fixed::app);
    eprintln!("{r}\n{:?}", t.elapsed());
}
