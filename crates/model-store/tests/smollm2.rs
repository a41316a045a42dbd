//! The default model, fetched as a user's first start does it.
use model_store::{Store, registry};

#[test]
fn the_default_model_can_be_had() {
    let model = &registry()[0];
    assert_eq!(model.name, "smollm2");
    let store = Store::open().unwrap();
    let path = store.resolve(model.name, &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), model.n_bytes);
    assert_eq!(store.cached(model), Some(path));
}
