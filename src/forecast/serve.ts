/**
 * Who is served. The model's forecast is a mixture that holds every baseline and trusts each as far as it has earned (`mix.ts`), so it is
 * served, unless the best baseline was better on the calibration windows by a margin that a test calls real: then that baseline is.
 * (The other way round, a baseline unless the model surely won, cost 2 to 7 % on recorded load: few windows prove little, and the
 * best baseline of yesterday is not today's.) The test is Diebold and Mariano's (1995) on paired errors of the same windows, with a
 * variance that allows for windows that overlap (Newey and West's weights up to `overlap` origins), one-sided.
 */
export interface ServeChoice {
  readonly servedBy: string;
  readonly bestBaseline: string;
  /** How many standard errors the model's mean error lies below the best baseline's, negative where above; 0 without enough windows. */
  readonly margin: number;
  readonly because: string;
}

/** One-sided 10 %: the loss from serving the wrong one is small, and the choice is made again every round. */
const sureMargin = 1.28;
/** Fewer windows than this say nothing. */
const leastWindows = 12;

/**
 * `errors` holds one array a contender over the same origins. `overlap`: how many neighbouring origins share outcomes. A model that is
 * not a mixture with the baselines has nothing to fall back on: it is served only where it surely wins.
 */
export function chooseServed(errors: ReadonlyMap<string, Float64Array>, modelId: string, overlap: number, isMixture = true): ServeChoice {
  let bestBaseline = 'naive';
  let best = Number.POSITIVE_INFINITY;
  for (const [id, list] of errors) {
    if (id === modelId || list.length === 0) continue;
    const mean = meanOf(list);
    if (mean < best) {
      best = mean;
      bestBaseline = id;
    }
  }
  const model = errors.get(modelId);
  const rival = errors.get(bestBaseline);
  if (model === undefined || rival === undefined || model.length < leastWindows) {
    return {
      servedBy: bestBaseline,
      bestBaseline,
      margin: 0,
      because: `fewer than ${leastWindows} windows to compare on: the best baseline is served`,
    };
  }
  const gains = Float64Array.from(model, (error, i) => (rival[i] ?? 0) - error);
  const mean = meanOf(gains);
  const deviation = standardError(gains, overlap);
  const margin = deviation > 0 ? mean / deviation : mean === 0 ? 0 : Math.sign(mean) * Number.POSITIVE_INFINITY;
  const loses = isMixture ? margin <= -sureMargin : margin < sureMargin;
  const compared = `${sayGap(mean, best, bestBaseline)} on ${gains.length} windows, ${sayMargin(margin)}`;
  return {
    servedBy: loses ? bestBaseline : modelId,
    bestBaseline,
    margin,
    because: loses ? `the model's error is ${compared}: the baseline is served` : `the model's error is ${compared}`,
  };
}

/** An error is a share of the usual change from step to step: under a millionth of that it is arithmetic's, not the forecaster's. */
const noError = 1e-6;

/** How much lower a mean error is than another, in words that stay words whatever the numbers are. */
function sayGap(gain: number, of: number, whose: string): string {
  if (Math.abs(gain) <= noError) return `that of ${whose}`;
  const side = gain > 0 ? 'below' : 'above';
  if (of <= noError) return `${side} ${whose}'s, which is none,`;
  const percent = Math.abs((100 * gain) / of);
  return percent < 1_000 ? `${percent.toFixed(1)} % ${side} ${whose}'s` : `more than ten times ${whose}'s`;
}

const sayMargin = (margin: number): string =>
  Math.abs(margin) < 100 ? `${Math.abs(margin).toFixed(1)} standard errors` : 'more than 100 standard errors';

/** Of the mean of a list whose neighbours, up to `overlap` apart, are not independent. */
export function standardError(list: Float64Array, overlap: number): number {
  return Math.sqrt(longRunVariance(list, meanOf(list), overlap) / Math.max(1, list.length));
}

function meanOf(list: Float64Array): number {
  let sum = 0;
  for (const value of list) sum += value;
  return sum / Math.max(1, list.length);
}

function longRunVariance(list: Float64Array, mean: number, overlap: number): number {
  const n = list.length;
  const reach = Math.min(overlap, n - 1);
  let variance = 0;
  for (let lag = 0; lag <= reach; lag += 1) {
    let sum = 0;
    for (let i = lag; i < n; i += 1) sum += ((list[i] ?? 0) - mean) * ((list[i - lag] ?? 0) - mean);
    variance += (lag === 0 ? 1 : 2 * (1 - lag / (reach + 1))) * (sum / n);
  }
  return Math.max(variance, 0);
}
