//! What a run was made for. A statement names what it likes as its subjects; its evidence was gathered for what it built.
//!
//! Images and other artifacts are kept apart: a run is never evidence of an image because it built a file that has the
//! image's digest, nor the other way round.

use std::collections::BTreeSet;

use contracts::{
    Digest, MaterialType, Statement,
    contract::Contract,
    crafting::{CraftedRun, DeclaredMaterial},
};

/// What a run is evidence of, accepted or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MadeFor {
    /// The images.
    pub(crate) images: BTreeSet<Digest>,
    /// What else.
    pub(crate) artifacts: BTreeSet<Digest>,
}

/// The images and other artifacts that the run declares as the outputs that its contract asks for. Of a kind of which it
/// declares none of these, those that it declares as outputs at all. Where it declares no image either, its images are all
/// that it names and does not declare to be something else.
pub(crate) fn made_for(contract: &Contract, run: &CraftedRun, statement: &Statement) -> MadeFor {
    let named = statement.image_digests();
    let of = |digests: BTreeSet<Digest>| digests.intersection(&named).copied().collect();
    let images = outputs(contract, run, |material| material.kind == MaterialType::ContainerImage);
    let artifacts = outputs(contract, run, is_no_image);
    let unnamed = || {
        let others: BTreeSet<Digest> = run.materials.iter().filter(|m| is_no_image(m)).map(|m| m.digest).collect();
        named.difference(&others).copied().collect()
    };
    MadeFor { images: images.map_or_else(unnamed, of), artifacts: artifacts.map(of).unwrap_or_default() }
}

/// What lies in a registry, a chart as well, is an image to whoever fetches it.
fn is_no_image(material: &DeclaredMaterial) -> bool {
    material.kind != MaterialType::ContainerImage && material.image.is_none()
}

/// Of the materials of a kind those that the contract asks for as outputs, else those that are declared as outputs; `None`
/// when there are none of these either.
fn outputs(
    contract: &Contract,
    run: &CraftedRun,
    of_kind: impl Fn(&DeclaredMaterial) -> bool,
) -> Option<BTreeSet<Digest>> {
    let asked = |material: &DeclaredMaterial| {
        contract.material(&material.name).is_some_and(|clause| clause.output && clause.kind == material.kind)
    };
    let those = |which: &dyn Fn(&DeclaredMaterial) -> bool| {
        let materials = run.materials.iter().filter(|material| of_kind(material) && which(material));
        let digests: BTreeSet<Digest> = materials.map(|material| material.digest).collect();
        (!digests.is_empty()).then_some(digests)
    };
    those(&asked).or_else(|| those(&|material| material.output))
}
