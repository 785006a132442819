/** Share of missing parents from which on spans are taken to be lost on their way. */
export const lossyShare = 0.005;

/**
 * How a place in the code usually behaves. Where spans are lost, the one that made a case right (an outbox insert, a rollback, a
 * compensation) may be missing from a single trace: a place that is right but for as many exceptions as loss makes is not accused of them. Where
 * nothing is lost every case counts, and nothing is held back.
 */
export interface Habits {
  note(place: string, isRight: boolean): void;
  isUsuallyRight(place: string): boolean;
  /**
   * What the place is accused of is better kept for a while: it was right before, and whether spans are lost is not known yet (traces with a
   * missing parent are waited for longest); or they are, and the place has not been seen often enough to have habits.
   */
  isDoubtful(place: string): boolean;
}

/** From here on the share says what is usual. */
const enoughSeen = 8;

/** Spans that must all be there for a case to show as right: a row put in and taken out, its transaction, what calls them. */
const spansOfCase = 6;

/** Places are bounded by the code of the fleet; beyond this a hostile sender is assumed. */
const placesMax = 20_000;

export interface KnownLoss {
  /** Share of spans that are lost on the way; 0 where none are taken to be. */
  lossSoFar(): number;
  isLossKnown(): boolean;
}

export function createHabits(known: KnownLoss): Habits {
  const places = new Map<string, { right: number; wrong: number }>();
  return {
    note(place, isRight) {
      let seen = places.get(place);
      if (seen === undefined) {
        if (places.size >= placesMax) return;
        seen = { right: 0, wrong: 0 };
        places.set(place, seen);
      }
      if (isRight) seen.right += 1;
      else seen.wrong += 1;
    },
    isUsuallyRight(place) {
      const seen = places.get(place);
      return seen !== undefined && seen.right > 0 && isExplained(seen.wrong, seen.right + seen.wrong, known.lossSoFar());
    },
    isDoubtful(place) {
      const seen = places.get(place);
      if (seen === undefined) return false;
      return (seen.right > 0 && !known.isLossKnown()) || (seen.right + seen.wrong < enoughSeen && known.lossSoFar() > 0);
    },
  };
}

/** Whether so many wrong cases are no more than loss makes of right ones, within two standard deviations. */
function isExplained(wrong: number, of: number, loss: number): boolean {
  if (loss === 0) return false;
  const share = 1 - (1 - loss) ** spansOfCase;
  return wrong <= of * share + 2 * Math.sqrt(of * share * (1 - share));
}
