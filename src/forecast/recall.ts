import type { Member } from './examples.ts';

/**
 * What costly experts said of a series, kept for the next rounds. They are asked about the same moments again and again, and what they
 * say at one depends on nothing but the last values before it: so each answer is kept with a print of these values, and asked for anew
 * where the print is another (a point that came late, a gap that was filled, a history that begins later now). With or without it, a
 * round's forecasts are the same to the bit. Memory: a number an output, expert and moment; some 100 MB for 10,000 series.
 */
export interface Recall {
  /**
   * Answers at `moments` (ascending), moments x `width`. `ask` writes those of one moment, which depend on the values from `oldest` of it up
   * to it.
   */
  answers(
    member: Member,
    moments: readonly number[],
    width: number,
    oldest: (at: number) => number,
    ask: (at: number, out: Float64Array) => void,
  ): Float64Array;
  /** Forgets the series that were not asked about since it was last called. */
  endRound(): void;
}

interface Kept {
  readonly round: number;
  /** By moment, ascending: its step since the epoch, and the print of the values before it. */
  readonly steps: Float64Array;
  readonly prints: Float64Array;
  readonly answers: Float64Array;
}

export function createRecall(): Recall {
  const series = new Map<string, Kept>();
  let round = 0;
  return {
    answers: (member, moments, width, oldest, ask) => {
      const { values, startMs, stepMs } = member.grid;
      const firstStep = Math.round(startMs / stepMs);
      const before = series.get(member.name);
      const steps = Float64Array.from(moments, (at) => firstStep + at);
      const prints = Float64Array.from(moments, (at) => printOf(values, oldest(at), at));
      const answers = new Float64Array(moments.length * width);
      const said = new Float64Array(width);
      let at = 0;
      moments.forEach((moment, i) => {
        const step = steps[i] ?? 0;
        while (before !== undefined && at < before.steps.length && (before.steps[at] ?? 0) < step) at += 1;
        if (before?.steps[at] === step && before.prints[at] === prints[i]) {
          answers.set(before.answers.subarray(at * width, (at + 1) * width), i * width);
        } else {
          ask(moment, said);
          answers.set(said, i * width);
        }
      });
      series.set(member.name, { round, steps, prints, answers });
      return answers;
    },
    endRound: () => {
      for (const [name, kept] of series) if (kept.round !== round) series.delete(name);
      round += 1;
    },
  };
}

/** The same values in the same order give the same print. It counts how many there are. */
function printOf(values: Float64Array, from: number, at: number): number {
  let one = at - from;
  let other = 0;
  let i = at;
  // Two chains at once: each step of one waits for the one before.
  for (; i > from; i -= 2) {
    one = 0.999 * one + (values[i] as number);
    other = 0.999 * other + (values[i - 1] as number);
  }
  return i === from ? 0.999 * one + (values[i] as number) + 3 * other : one + 3 * other;
}
