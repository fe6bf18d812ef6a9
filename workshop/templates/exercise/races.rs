
/// Races that no promise can judge, on real threads: what is seen is a breach, and nothing seen is no proof.
#[test]
fn races_are_tried() {
    lab::tried_in_exercise("promises::races_are_tried", &|| {
        <{module}_spec::Spec as lab::Ghost>::hammer({app}, lab::hammer::Force::default())
    });
}
