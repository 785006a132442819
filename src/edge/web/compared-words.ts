/** What is known of collections, as the API lists them. */
export interface Compared {
  readonly id: string;
  readonly state: { readonly lastScanEndedMs: number | null; readonly error: string | null } | null;
  /** Open divergences by status. */
  readonly diverged: Readonly<Record<string, number>>;
}

/** What an empty queue means: that replicas agree is said only of what was compared. */
export function comparedWords(collections: readonly Compared[]): string {
  if (collections.length === 0) return 'No replicas are compared yet: the configuration names no collection.';
  const isDiverged = ({ diverged }: Compared): boolean => Object.values(diverged).some((rows) => rows > 0);
  const failed = collections.filter(({ state }) => (state?.error ?? null) !== null);
  const unseen = collections.filter(({ state }) => (state?.error ?? null) === null && (state?.lastScanEndedMs ?? null) === null);
  const rest = collections.filter((one) => !failed.includes(one) && !unseen.includes(one));
  const differing = rest.filter(isDiverged);
  const some = (list: readonly Compared[]): string =>
    list.length === 1 ? (list[0]?.id ?? '') : list.length === collections.length ? 'all collections' : `${list.length} collections`;
  const sentences = [
    failed.length === 0 ? '' : `The last comparison of ${some(failed)} failed: what differs there is not known.`,
    unseen.length === 0 ? '' : `Of ${some(unseen)} no comparison has ended yet.`,
    differing.length === 0 ? '' : `Rows of ${some(differing)} differ, and are being confirmed or repaired.`,
    rest.length === differing.length
      ? ''
      : `The replicas of ${some(rest.filter((one) => !isDiverged(one)))} agreed when they were compared last.`,
  ];
  return sentences.filter((sentence) => sentence !== '').join(' ');
}
