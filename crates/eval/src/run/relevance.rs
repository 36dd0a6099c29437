//! The knowledge of oracle arms: the truth about pictures, or the worth of each token to the model's own answer.

use burn::tensor::{Tensor, TensorData};
use diffprune_pruner::PositionRule;
use diffprune_vlm::{Encoded, Hooks, respond, unpruned};

use super::leave_one_out::leave_one_out;
use super::prepared::Prepared;
use super::runner::Setting;
use super::worker::Worker;
use crate::EvalError;
use crate::data::Question;

impl Worker<'_> {
    /// The annotated relevance of the unit's pictures, `[b, n]`; `None` when one picture has none.
    pub(crate) fn relevance(&self, encoded: &Encoded, pictures: &[usize]) -> Option<Tensor<2>> {
        let annotations = self.shared.run.annotations?;
        let of_picture = |(row, &picture): (usize, &usize)| {
            annotations.relevance(&self.unit.pictures[picture].image, &encoded.layouts[row])
        };
        let rows: Option<Vec<_>> = pictures.iter().enumerate().map(of_picture).collect();
        Some(rows_of(&rows?, encoded))
    }

    /// The worth of each token to the model's own answer to the questions at these places, computed once.
    pub(crate) fn importance(
        &self,
        setting: &Setting<'_>,
        prepared: &mut Prepared,
        places: &[usize],
    ) -> Result<Vec<Vec<f32>>, EvalError> {
        let rule = setting.arm.positions.unwrap_or_default();
        let known = |prepared: &Prepared, place| prepared.importance.get(&(rule, place)).cloned();
        let missing = places
            .iter()
            .copied()
            .filter(|&place| known(prepared, place).is_none());
        for place in missing.collect::<Vec<_>>() {
            let (question, picture) = self.unit.questions[place];
            let prompt = self.prompts(setting.arm.input, prepared)?[place].clone();
            let encoded = self.encoded(setting.arm.input, prepared)?.rows(&[picture]);
            let answer = self.own_answer(question, &encoded, &prompt, rule)?;
            let batch = self.shared.run.options.prompts_per_batch;
            let rises = leave_one_out(self.vlm, &encoded, &prompt, &answer, rule, batch)?;
            prepared.importance.insert((rule, place), rises);
        }
        Ok(places
            .iter()
            .filter_map(|&place| known(prepared, place))
            .collect())
    }

    /// The model's answer from every token, with its end token where it came to an end.
    fn own_answer(
        &self,
        question: &Question,
        encoded: &Encoded,
        prompt: &[u32],
        rule: PositionRule,
    ) -> Result<Vec<u32>, EvalError> {
        let images = unpruned(self.vlm, encoded, rule);
        let limit = self.longest(&[(question, 0)]);
        let options = self.vlm.generate_options().with_max_new_tokens(limit);
        let prompts = [prompt.to_vec()];
        let answers = respond(self.vlm, &prompts, &images, &options, &mut Hooks::default())?;
        let mut answer = answers.into_iter().next().unwrap_or_default();
        if answer.len() < limit {
            let end = self.vlm.end_id();
            answer.extend(end.or(options.stop_ids.first().copied()));
        }
        Ok(answer)
    }
}

/// Numbers of the tokens of each picture as `[b, n]`; the padding is 0.
pub(crate) fn rows_of(rows: &[Vec<f32>], encoded: &Encoded) -> Tensor<2> {
    let [batch, n_tokens, _] = encoded.tokens.dims();
    let mut values = vec![0f32; batch * n_tokens];
    for (row, numbers) in rows.iter().enumerate() {
        let places = values[row * n_tokens..].iter_mut().take(n_tokens);
        places.zip(numbers).for_each(|(place, &number)| *place = number);
    }
    Tensor::from_data(
        TensorData::new(values, [batch, n_tokens]),
        &encoded.tokens.device(),
    )
}
