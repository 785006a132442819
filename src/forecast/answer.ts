import { calibrate, type CalibrateOptions, defaultCalibration } from './calibrate.ts';
import type { Member } from './examples.ts';
import { expertPoints } from './experts.ts';
import { defaultMix, mediansOf, mix, type MixOptions } from './mix.ts';

export interface AnswerSettings {
  readonly mix: MixOptions;
  readonly calibration: CalibrateOptions;
}

export const defaultAnswer: AnswerSettings = { mix: defaultMix, calibration: defaultCalibration };

/**
 * What is called the model's forecast: the network's quantiles, their median mixed with the rivals' (quantiles of the baselines and
 * the ridge, in the shape of `raw`) and the experts', then calibrated. Each origin knows what lies at or before it, no more.
 */
export function modelAnswer(
  member: Member,
  origins: readonly number[],
  raw: Float64Array,
  rivals: readonly Float64Array[],
  settings: AnswerSettings = defaultAnswer,
): Float64Array {
  const others = [...rivals.map(mediansOf), ...expertPoints(member, origins)];
  return calibrate(member, origins, mix(member, origins, raw, others, settings.mix), settings.calibration);
}
