/**
 * What a recording that ends before the deadline of a failed saga leaves open: a compensation may have come after its end. '' where the
 * deadline has passed. `endsUs`: the newest time in the recording.
 */
export function leftOpen(failedUs: number, deadlineUs: number, endsUs: number): string {
  if (failedUs + deadlineUs <= endsUs) return '';
  const seconds = (us: number): string => `${Math.round(Math.max(0, us) / 100_000) / 10} s`;
  return ` Undecided: the recording ends ${seconds(endsUs - failedUs)} after the failure, and a compensation has ${seconds(deadlineUs)}.`;
}
