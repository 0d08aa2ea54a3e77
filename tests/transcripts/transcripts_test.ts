import { parseTranscript, runTranscript } from "./transcript.ts";

const directory = new URL(".", import.meta.url);
const files = [...Deno.readDirSync(directory)]
  .map(({ name }) => name)
  .filter((name) => name.endsWith(".txt"))
  .sort();

for (const file of files) {
  const transcript = parseTranscript(Deno.readTextFileSync(new URL(file, directory)), file);
  Deno.test(`transcript ${file}: ${transcript.title}`, () => runTranscript(transcript, { cut: false }));
  if (transcript.uncut) continue;
  Deno.test(
    `transcript ${file}, cut into single bytes: ${transcript.title}`,
    () => runTranscript(transcript, { cut: true }),
  );
}
