//! What is undefined is nothing. The engine lets `x := input.missing` pass, puts undefined values into the results of
//! comprehensions, and lets one take the place of a rule's value; in OPA each of them fails. So a guard is put before
//! every instruction that stores a value.

use std::sync::Arc;

use regorus::rvm::{Instruction, Program, instructions::GuardMode};

use super::counted::Counting;

/// Puts the guards in, and the calls that count what is kept; moves every place that the program jumps to.
pub(super) fn guard(program: &mut Program) -> Result<(), &'static str> {
    let originals = std::mem::take(&mut program.instructions);
    let mut counting = Counting::new(program);
    let mut instructions = Vec::with_capacity(originals.len() * 2);
    let mut spans = Vec::with_capacity(originals.len() * 2);
    let mut places = Vec::with_capacity(originals.len() + 1);
    for (at, instruction) in originals.iter().enumerate() {
        places.push(instructions.len());
        let span = program.instruction_spans.get(at).cloned().flatten();
        // A call of the host looks itself whether it has an argument, and is undefined without.
        let next = originals.get(at + 1..at + 3).unwrap_or_default();
        let guarded = if asks_host(instruction, next) { [None, None] } else { stored(instruction) };
        for register in guarded.into_iter().flatten() {
            instructions.push(Instruction::Guard { register, mode: GuardMode::NotUndefined });
        }
        instructions.extend(counting.before(program, instruction)?);
        instructions.push(*instruction);
        instructions.extend(counting.after(program, instruction)?);
        spans.resize(instructions.len(), span);
    }
    places.push(instructions.len());
    if instructions.len() > Program::MAX_INSTRUCTIONS {
        return Err("it is too long");
    }
    let moved = Moved(places);
    for instruction in &mut instructions {
        moved.instruction(instruction)?;
    }
    for params in &mut program.instruction_data.loop_params {
        moved.short(&mut params.body_start)?;
        moved.short(&mut params.loop_end)?;
    }
    for params in &mut program.instruction_data.comprehension_begin_params {
        moved.short(&mut params.body_start)?;
        moved.short(&mut params.comprehension_end)?;
    }
    for rule in &mut program.rule_infos {
        let mut definitions = (*rule.definitions).clone();
        for place in definitions.iter_mut().flatten().chain(rule.destructuring_blocks.iter_mut().flatten()) {
            moved.long(place)?;
        }
        rule.definitions = Arc::new(definitions);
    }
    for place in program.entry_points.values_mut() {
        *place = moved.to(*place)?;
    }
    moved.long(&mut program.main_entry_point)?;
    program.instructions = instructions;
    program.instruction_spans = spans;
    Ok(())
}

/// Whether this is where a call of the host begins: the argument is moved, looked at, and the call left out.
fn asks_host(instruction: &Instruction, next: &[Instruction]) -> bool {
    match (instruction, next) {
        (Instruction::Move { src, .. }, [Instruction::Not { operand, dest }, Instruction::AnyOfNext { check, .. }]) => {
            src == operand && dest == check
        }
        _ => false,
    }
}

/// The registers whose values an instruction stores where undefined must not be.
const fn stored(instruction: &Instruction) -> [Option<u8>; 2] {
    match instruction {
        Instruction::Move { src, .. } => [Some(*src), None],
        Instruction::ComprehensionYield { value_reg, key_reg } => [Some(*value_reg), *key_reg],
        Instruction::ObjectSet { key, value, .. } => [Some(*value), Some(*key)],
        Instruction::SetAdd { value, .. } | Instruction::ArrayPush { value, .. } => [Some(*value), None],
        _ => [None, None],
    }
}

/// Where each instruction went, its guards included.
struct Moved(Vec<usize>);

impl Moved {
    fn to(&self, place: usize) -> Result<usize, &'static str> {
        self.0.get(place).copied().ok_or("it jumps out of itself")
    }

    fn long(&self, place: &mut u32) -> Result<(), &'static str> {
        let to = self.to(usize::try_from(*place).unwrap_or(usize::MAX))?;
        *place = u32::try_from(to).map_err(|_| "it is too long")?;
        Ok(())
    }

    fn short(&self, place: &mut u16) -> Result<(), &'static str> {
        let to = self.to(usize::from(*place))?;
        *place = u16::try_from(to).map_err(|_| "it is too long")?;
        Ok(())
    }

    /// Every instruction is named: one that a new version of the engine brings must be looked at here.
    fn instruction(&self, instruction: &mut Instruction) -> Result<(), &'static str> {
        match instruction {
            Instruction::LoopNext { body_start, loop_end } => {
                self.short(body_start)?;
                self.short(loop_end)
            }
            Instruction::LogicalBlockStart { end_pc, .. }
            | Instruction::AllOfNext { end_pc, .. }
            | Instruction::AnyOfNext { end_pc, .. } => self.short(end_pc),
            Instruction::Load { .. }
            | Instruction::LoadTrue { .. }
            | Instruction::LoadFalse { .. }
            | Instruction::LoadNull { .. }
            | Instruction::LoadBool { .. }
            | Instruction::LoadData { .. }
            | Instruction::LoadInput { .. }
            | Instruction::LoadContext { .. }
            | Instruction::LoadMetadata { .. }
            | Instruction::Move { .. }
            | Instruction::Add { .. }
            | Instruction::Sub { .. }
            | Instruction::Mul { .. }
            | Instruction::Div { .. }
            | Instruction::Mod { .. }
            | Instruction::Eq { .. }
            | Instruction::Ne { .. }
            | Instruction::Lt { .. }
            | Instruction::Le { .. }
            | Instruction::Gt { .. }
            | Instruction::Ge { .. }
            | Instruction::And { .. }
            | Instruction::Or { .. }
            | Instruction::Not { .. }
            | Instruction::BuiltinCall { .. }
            | Instruction::HostAwait { .. }
            | Instruction::FunctionCall { .. }
            | Instruction::Return { .. }
            | Instruction::ObjectSet { .. }
            | Instruction::ObjectCreate { .. }
            | Instruction::Index { .. }
            | Instruction::IndexLiteral { .. }
            | Instruction::ChainedIndex { .. }
            | Instruction::ArrayNew { .. }
            | Instruction::ArrayPush { .. }
            | Instruction::ArrayPushDefined { .. }
            | Instruction::ArrayCreate { .. }
            | Instruction::SetNew { .. }
            | Instruction::SetAdd { .. }
            | Instruction::SetCreate { .. }
            | Instruction::Contains { .. }
            | Instruction::Count { .. }
            | Instruction::AssertEq { .. }
            | Instruction::Guard { .. }
            | Instruction::ReturnUndefinedIfNotTrue { .. }
            | Instruction::CoalesceUndefinedToNull { .. }
            | Instruction::LoopStart { .. }
            | Instruction::CallRule { .. }
            | Instruction::RuleInit { .. }
            | Instruction::VirtualDataDocumentLookup { .. }
            | Instruction::DestructuringSuccess {}
            | Instruction::RuleReturn {}
            | Instruction::Halt {}
            | Instruction::ComprehensionBegin { .. }
            | Instruction::ComprehensionYield { .. }
            | Instruction::ComprehensionEnd {}
            | Instruction::PolicyCondition { .. }
            | Instruction::LogicalBlockEnd { .. } => Ok(()),
        }
    }
}
