//! Where there are no vector instructions that this crate knows: the `argon2` crate.

use crate::{BadInput, Input, Variant};
use argon2::{Algorithm, Argon2, AssociatedData, Block, ParamsBuilder, Version};

pub fn compute(input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) -> Result<(), BadInput> {
    let algorithm = match input.variant {
        Variant::D => Algorithm::Argon2d,
        Variant::I => Algorithm::Argon2i,
        Variant::Id => Algorithm::Argon2id,
    };
    let version = Version::try_from(input.version).map_err(|_| BadInput)?;
    let mut params = ParamsBuilder::new();
    params.m_cost(input.m_kib).t_cost(input.t).p_cost(input.p).output_len(tag.len());
    params.data(AssociatedData::new(input.data).map_err(|_| BadInput)?);
    let params = params.build().map_err(|_| BadInput)?;
    let context = match input.secret {
        [] => Argon2::new(algorithm, version, params),
        secret => Argon2::new_with_secret(secret, algorithm, version, params).map_err(|_| BadInput)?,
    };
    context.hash_password_into_with_memory(input.password, input.salt, tag, memory).map_err(|_| BadInput)
}
