/** What a job asks a worker to do. It carries only the id of what changed: the worker reads the state and acts on that. */
export type Bell = 'propose' | 'repair' | 'suggestion';

export const bells: readonly Bell[] = ['propose', 'repair', 'suggestion'];
