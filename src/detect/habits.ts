/** Share of missing parents from which on spans are taken to be lost on their way. */
export const lossyShare = 0.005;

/**
 * How a place in the code usually behaves. Where spans are lost, the one that made a case right (an outbox insert, a rollback, a
 * compensation) may be missing from a single trace: a place that is right nearly every time is then not accused for the exceptions. Where
 * nothing is lost every case counts, and nothing is held back.
 */
export interface Habits {
  note(place: string, isRight: boolean): void;
  isUsuallyRight(place: string): boolean;
}

/** Places are bounded by the code of the fleet; beyond this a hostile sender is assumed. */
const placesMax = 20_000;

export function createHabits(isLossy: () => boolean): Habits {
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
      return seen !== undefined && seen.right >= 3 * seen.wrong && isLossy();
    },
  };
}
