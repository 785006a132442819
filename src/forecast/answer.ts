import { calibrate, type CalibrateOptions, defaultCalibration } from './calibrate.ts';
import type { Member } from './examples.ts';
import { expertPoints } from './experts.ts';
import { defaultMix, mix, type MixOptions } from './mix.ts';

export interface AnswerSettings {
  readonly mix: MixOptions;
  readonly calibration: CalibrateOptions;
}

export const defaultAnswer: AnswerSettings = { mix: defaultMix, calibration: defaultCalibration };

/**
 * What is called the model's forecast: the network's quantiles, their median mixed with the rivals' (point forecasts of the baselines and
 * the ridge, origins x outputs) and the experts', then calibrated. Each origin knows what lies at or before it, no more.
 */
export function modelAnswer(
  member: Member,
  origins: readonly number[],
  raw: Float64Array,
  rivals: readonly Float64Array[],
  settings: AnswerSettings = defaultAnswer,
): Float64Array {
  const mixed = mix(member, origins, raw, [...rivals, ...expertPoints(member, origins)], settings.mix);
  return calibrate(member, origins, mixed, settings.calibration);
}
