import { readFileSync } from 'node:fs';
import { parsePromptTemplate, type PromptTemplate } from '../../propose/prompt.ts';

/** The released prompt that is in use; released files are never edited, a change is a new number here. */
const chooseRepairVersion = 1;

export function readChooseRepairPrompt(): PromptTemplate {
  return parsePromptTemplate(readFileSync(new URL(`../../../prompts/choose-repair/v${chooseRepairVersion}.md`, import.meta.url), 'utf8'));
}
