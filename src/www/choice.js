/* choice: who can be asked, from GET /v1/models: routes, then each provider with its models.
 *
 * The list also has models by their bare names; they are at a provider already, so they are left
 * out. */
import { element } from "./dom.js";

const ROUTES = "optiroute"; /* who owns them */

function option(id, label) {
    return element("option", { value: id }, label);
}

function group(label, options) {
    return element("optgroup", { label }, ...options);
}

function provider_options(provider, ids) {
    const models = ids.filter((id) => id.startsWith(`${provider}/`));
    return [
        option(provider, `${provider} (its usual model)`),
        ...models.map((id) => option(id, id.slice(provider.length + 1))),
    ];
}

/* Fills the list and chooses `wanted` where it is still there, else `auto`, else the first.
 * Returns the providers with no model behind them, and whether these are all. */
export async function load_choices(select, wanted) {
    const answer = await fetch("/v1/models");
    const models = (await answer.json()).data;
    const ids = models.map((model) => model.id);
    const routes = models.filter((model) => model.owned_by === ROUTES).map((model) => model.id);
    const providers = models
        .filter((model) => model.id === model.owned_by)
        .map((model) => model.id);
    select.replaceChildren(
        group(
            "Routes: OptiRoute decides",
            routes.map((id) => option(id, id)),
        ),
        ...providers.map((provider) => group(provider, provider_options(provider, ids))),
    );
    const known = [...select.options].map((one) => one.value);
    select.value = [wanted, "auto", known[0]].find((id) => known.includes(id)) ?? "";
    const simulated = models.filter((model) => model.simulated).map((model) => model.owned_by);
    const names = [...new Set(simulated)];
    return { names, is_all: names.length === providers.length };
}
