//! What a run makes and keeps with the engine's own instructions, outside of every function, is counted like what
//! functions produce: a call of a function that gives its argument back goes before whatever is kept in a collection, and
//! behind whatever makes one.

use std::collections::BTreeMap;

use regorus::rvm::{Instruction, Program, instructions::BuiltinCallParams, program::BuiltinInfo};

use super::builtins;

/// The calls that count, in one program.
pub(super) struct Counting {
    /// The functions' places in the program's table.
    made: u16,
    kept: u16,
    called: u16,
    /// The parameters of calls that there are: one for each function and register.
    params: BTreeMap<(u16, u8), u16>,
}

impl Counting {
    pub(super) fn new(program: &mut Program) -> Self {
        let mut add = |name: &str, function| {
            program.resolved_builtins.push(function);
            program.add_builtin_info(BuiltinInfo { name: name.to_owned(), num_args: 1 })
        };
        let made = add("sluice.made", builtins::MADE);
        let kept = add("sluice.kept", builtins::KEPT);
        let called = add("sluice.called", builtins::CALLED);
        Self { made, kept, called, params: BTreeMap::new() }
    }

    /// The call before an instruction that keeps a value, or that calls one of the policy's own functions with one: the
    /// engine counts such a call as a single step, and it takes as long as dozens.
    pub(super) fn before(
        &mut self,
        program: &mut Program,
        instruction: &Instruction,
    ) -> Result<Option<Instruction>, &'static str> {
        if let Instruction::FunctionCall { params_index } = instruction {
            let params = program.instruction_data.function_call_params.get(usize::from(*params_index));
            let params = params.ok_or("it calls a function that is not there")?;
            return match params.args.first().filter(|_| params.num_args > 0).copied() {
                Some(register) => self.call(program, self.called, register).map(Some),
                // What takes nothing is found once.
                None => Ok(None),
            };
        }
        let register = match instruction {
            Instruction::ComprehensionYield { value_reg, .. } => *value_reg,
            Instruction::ObjectSet { value, .. }
            | Instruction::SetAdd { value, .. }
            | Instruction::ArrayPush { value, .. }
            | Instruction::ArrayPushDefined { value, .. } => *value,
            _ => return Ok(None),
        };
        self.call(program, self.kept, register).map(Some)
    }

    /// The call behind an instruction that makes a collection.
    pub(super) fn after(
        &mut self,
        program: &mut Program,
        instruction: &Instruction,
    ) -> Result<Option<Instruction>, &'static str> {
        let data = &program.instruction_data;
        let register = match instruction {
            Instruction::ArrayCreate { params_index } => {
                data.array_create_params.get(usize::from(*params_index)).map(|params| params.dest)
            }
            Instruction::SetCreate { params_index } => {
                data.set_create_params.get(usize::from(*params_index)).map(|params| params.dest)
            }
            Instruction::ObjectCreate { params_index } => {
                data.object_create_params.get(usize::from(*params_index)).map(|params| params.dest)
            }
            _ => return Ok(None),
        };
        let register = register.ok_or("it makes a collection of nothing")?;
        self.call(program, self.made, register).map(Some)
    }

    fn call(&mut self, program: &mut Program, function: u16, register: u8) -> Result<Instruction, &'static str> {
        if let Some(params_index) = self.params.get(&(function, register)) {
            return Ok(Instruction::BuiltinCall { params_index: *params_index });
        }
        if program.instruction_data.builtin_call_params.len() >= usize::from(u16::MAX) {
            return Err("it calls functions in too many places");
        }
        let args = [register, 0, 0, 0, 0, 0, 0, 0];
        let params = BuiltinCallParams { dest: register, builtin_index: function, num_args: 1, args };
        let params_index = program.instruction_data.add_builtin_call_params(params);
        self.params.insert((function, register), params_index);
        Ok(Instruction::BuiltinCall { params_index })
    }
}
