//! Which images a run was made for. A statement names what it likes as its subjects; its evidence was gathered for
//! what it built.

use std::collections::BTreeSet;

use contracts::{
    Digest, MaterialType, Statement,
    contract::Contract,
    crafting::{CraftedRun, DeclaredMaterial},
};

/// The images of which a run is evidence, accepted or rejected: those that it declares as the outputs that its
/// contract asks for. Without any, the images that it declares as outputs at all; without these, all that it names.
pub(crate) fn made_for(contract: &Contract, run: &CraftedRun, statement: &Statement) -> BTreeSet<Digest> {
    let named = statement.image_digests();
    if let Some(demanded) = demanded(contract, run) {
        return demanded.intersection(&named).copied().collect();
    }
    let declared: BTreeSet<Digest> = images(run).filter(|image| image.output).map(|image| image.digest).collect();
    if declared.is_empty() { named } else { declared }
}

/// The images that a run declares as the outputs that the contract asks for; `None` when none of these is there.
fn demanded(contract: &Contract, run: &CraftedRun) -> Option<BTreeSet<Digest>> {
    let asked = |image: &&DeclaredMaterial| {
        let clause = contract.material(&image.name);
        clause.is_some_and(|clause| clause.output && clause.kind == MaterialType::ContainerImage)
    };
    let images: BTreeSet<Digest> = images(run).filter(asked).map(|image| image.digest).collect();
    (!images.is_empty()).then_some(images)
}

fn images(run: &CraftedRun) -> impl Iterator<Item = &DeclaredMaterial> {
    run.materials.iter().filter(|material| material.kind == MaterialType::ContainerImage)
}
