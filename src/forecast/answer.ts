import { calibrate, type CalibrateOptions, defaultCalibration } from './calibrate.ts';
import { type Contender, modelQuantiles, type Networks } from './contender.ts';
import type { Member } from './examples.ts';
import { expertVoices } from './experts.ts';
import { defaultMix, mediansOf, mix, type MixOptions, type Moments, type Voice } from './mix.ts';
import { horizons, isScorable, outputs } from './window.ts';

export interface AnswerSettings {
  readonly mix: MixOptions;
  readonly calibration: CalibrateOptions;
}

export const defaultAnswer: AnswerSettings = { mix: defaultMix, calibration: defaultCalibration };

/** How far back earlier moments lie at most, steps: what is older has faded from the mixture. */
const earlierReach = 1_000;
/** The first values of a series say little. */
const leastBefore = 24;

/**
 * Earlier moments are at most half as many as the origins, an hour or more apart, and each was complete when the first origin came. They
 * keep to the clock, so that the next round has the same: by the number of origins whose hour is complete, as that of the others wanders.
 */
export function momentsOf(member: Member, origins: readonly number[], complete = origins.length): Moments {
  const first = origins[0] ?? 0;
  const spacing = clockSpacing(Math.max(horizons, Math.ceil((2 * earlierReach) / Math.max(1, complete))));
  const earlier: number[] = [];
  for (let at = onClock(member, first - horizons, spacing); at >= Math.max(leastBefore, first - earlierReach); at -= spacing)
    if (isScorable(member.grid, at)) earlier.unshift(at);
  return { earlier, origins };
}

/** The least of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... that is no less: as it grows with the history, most moments stay the same. */
export function clockSpacing(steps: number): number {
  const power = 2 ** Math.ceil(Math.log2(Math.max(1, steps)));
  return 0.75 * power >= steps && power >= 4 ? 0.75 * power : power;
}

/** The last index up to `at` whose step since the epoch is a multiple of `spacing`. */
export function onClock({ grid: { startMs, stepMs } }: Member, at: number, spacing: number): number {
  const step = Math.round(startMs / stepMs) + at;
  return at - (((step % spacing) + spacing) % spacing);
}

/** Nothing is asked of it where it sleeps. */
export function voiceOf(contender: Contender, member: Member, { earlier, origins }: Moments): Voice {
  const all = [...earlier, ...origins];
  const knowsFrom = contender.knowsFrom(member);
  const awake = all.filter((at) => at >= knowsFrom);
  const points = new Float64Array(all.length * outputs);
  points.set(contender.points(member, awake), (all.length - awake.length) * outputs);
  return { points, knowsFrom };
}

/** The stand-in's medians at the earlier moments of each series; nulls where nobody stands in. */
export function earlyMedians(
  { standIn }: Networks,
  asked: readonly { readonly member: Member; readonly moments: Moments }[],
): readonly (Float64Array | null)[] {
  if (standIn === null) return asked.map(() => null);
  return modelQuantiles(
    standIn,
    asked.map(({ member, moments }) => ({ member, origins: moments.earlier })),
  ).map(mediansOf);
}

/**
 * What is called the model's forecast: the network's quantiles, their median mixed with the rivals' (the baselines and the ridge) and the
 * experts', then calibrated. `raw` is origins x outputs x levels, and so is the answer; `early` is what {@link earlyMedians} answers. Each
 * origin knows what lies at or before it, no more.
 */
export function modelAnswer(
  member: Member,
  moments: Moments,
  raw: Float64Array,
  early: Float64Array | null,
  rivals: readonly Voice[],
  settings: AnswerSettings = defaultAnswer,
): Float64Array {
  const mixed = mix(member, moments, raw, early, [...rivals, ...expertVoices(member, moments)], settings.mix);
  return calibrate(member, moments.origins, mixed, settings.calibration);
}
