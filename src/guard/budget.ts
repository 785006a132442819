/** What the hourly budget of automatic repair allows. Rows, not repairs: a thousand small repairs are one large one. */
export function weighBudget(rows: number, rowsLastHour: number, rowsPerHour: number): { readonly fits: boolean; readonly left: number } {
  const left = Math.max(0, rowsPerHour - rowsLastHour);
  return { fits: rows <= left, left };
}
