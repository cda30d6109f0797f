// Runs the tasks of @huggingface/inference that write and see, and prints what came of them as JSON.
// node texts.mjs inference-new|inference-old '{"writer", "classifier", "asker", "image"}'
import { readFileSync } from "node:fs";

const [name, given] = process.argv.slice(2);
const client = await import(name);
const isOld = name === "inference-old";
const { writer, classifier, asker, image } = JSON.parse(given);
const made = new (client.InferenceClient ?? client.HfInference)(undefined, { retry_on_error: false });
const at = (url) => (isOld ? { model: url } : { endpointUrl: url });
const data = new Blob([readFileSync(image)]);
const messages = [{ role: "user", content: "the quick" }];
const told = {};
const chat = { ...at(writer), messages, max_tokens: 8, seed: 1 };
told.chat = (await made.chatCompletion(chat)).choices[0].message.content;
told.chunks = [];
for await (const chunk of made.chatCompletionStream(chat)) told.chunks.push(chunk.choices[0]?.delta?.content ?? "");
const text = { ...at(writer), inputs: "the quick", parameters: { max_new_tokens: 8, seed: 1 } };
told.text = (await made.textGeneration(text)).generated_text;
told.tokens = [];
for await (const event of made.textGenerationStream(text)) told.tokens.push(event);
told.labels = await made.imageClassification({ ...at(classifier), data });
told.answer = await made.visualQuestionAnswering({ ...at(asker), inputs: { image: data, question: "what is in the image?" } });
console.log(JSON.stringify(told));
