// Checks that the page's sources use nothing that the oldest browsers of the README lack, by what
// MDN knows of them. What a program builds at run time it does not see; tests in an old browser do.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_MODULES ?? process.cwd()}/`);
const bcd = require('@mdn/browser-compat-data');
const acorn = require('acorn');
const walk = require('acorn-walk');
const css = require('css-tree');

const OLDEST = { chrome: 105, firefox: 110, safari: 16, safari_ios: 16 };

// What some lack and do not miss.
const OPTIONAL = {
	modulepreload: 'modules are fetched later',
	viewport: 'windows of computers have no other',
	icon: 'a decoration',
	'cursor: pointer': 'there is none on a touch screen',
	'cursor: default': 'there is none on a touch screen',
	resize: 'there is no corner to draw on a touch screen',
	'resize: none': 'there is no corner to draw on a touch screen',
	'overflow-anchor: none': 'a browser without it needs no "none"',
	'overflow-anchor': 'a browser without it needs no "none"',
	'field-sizing': 'the script sizes the text field',
	'field-sizing: content': 'the script sizes the text field',
	Notification: 'the settings say that there are none',
	'Notification.requestPermission': 'the settings say that there are none',
};

const folder = new URL('../../assets/', import.meta.url);
const faults = [];
const report = (file, line, feature, lacking) => {
	if (!(feature in OPTIONAL)) faults.push(`assets/${file}:${line}: ${feature} is not in ${lacking.join(', ')}`);
};

const reached = (version, oldest) => version && parseFloat(String(version).replace('≤', '')) <= oldest;

// The browsers that lack a feature.
function lacking(data) {
	const support = data?.__compat?.support;
	if (!support) return [];
	return Object.entries(OLDEST).filter(([browser, oldest]) => {
		const statements = [support[browser] ?? []].flat();
		const has = ({ version_added, version_removed, flags, prefix, alternative_name }) =>
			reached(version_added, oldest) && !reached(version_removed, oldest) && !flags && !prefix && !alternative_name;
		return !statements.some(has);
	}).map(([browser, oldest]) => `${browser} ${oldest}`);
}

// Each name of a method or property, with all that have it: the type is not known.
const interfaces = { ...bcd.api, ...bcd.javascript.builtins, ...bcd.javascript.builtins.Intl };
const members = new Map();
for (const type of Object.values(interfaces)) {
	for (const [name, data] of Object.entries(type)) {
		if (name === '__compat') continue;
		if (!members.has(name)) members.set(name, []);
		members.get(name).push(data);
	}
}

function checkMember(file, line, name) {
	const owners = members.get(name) ?? members.get(`${name}_event`) ?? [];
	const lacks = owners.map(lacking);
	if (lacks.length > 0 && lacks.every((browsers) => browsers.length > 0)) report(file, line, name, lacks[0]);
}

function checkScript(file, text) {
	const options = { ecmaVersion: 2022, sourceType: 'module', locations: true };
	let tree;
	try {
		tree = acorn.parse(text, options);
	} catch (error) {
		return report(file, error.loc?.line ?? 1, error.message, ['ES2022']);
	}
	const pattern = (node, source) => /\(\?<[=!]/.test(source) && report(file, node.loc.start.line, 'lookbehind', ['safari 16']);
	walk.simple(tree, {
		MemberExpression({ object, property, computed, loc }) {
			if (computed) return;
			const known = object.type === 'Identifier' && interfaces[object.name]?.[`${property.name}_static`];
			if (known) {
				const lacks = lacking(known);
				if (lacks.length > 0) report(file, loc.start.line, `${object.name}.${property.name}`, lacks);
			} else checkMember(file, loc.start.line, property.name);
		},
		// Properties that are assigned to an element.
		CallExpression({ callee, arguments: given }) {
			if (callee.name !== 'make' && callee.object?.name !== 'Object') return;
			for (const { key, loc } of given.flatMap(({ properties = [] }) => properties)) {
				if (key?.type === 'Identifier') checkMember(file, loc.start.line, key.name);
			}
		},
		Identifier({ name, loc }) {
			const lacks = lacking(interfaces[name]);
			if (lacks.length > 0) report(file, loc.start.line, name, lacks);
		},
		NewExpression({ callee, arguments: given, loc }) {
			if (callee.name === 'RegExp' && /[vd]/.test(given[1]?.value ?? '')) report(file, loc.start.line, 'flag v or d', ['chrome 105']);
		},
		Literal(node) {
			pattern(node, String(node.regex?.pattern ?? node.value));
		},
		TemplateElement(node) {
			pattern(node, node.value.raw);
		},
	});
}

const VALUES = Object.values(bcd.css.types);
const units = { ...bcd.css.types.length };

function checkDeclaration(file, rule, declaration) {
	const { property, value, loc } = declaration;
	if (property.startsWith('--') && !value.children) return;
	const data = bcd.css.properties[property];
	const found = [[property, lacking(data)]];
	css.walk(value, (node) => {
		if (node.type === 'Identifier') found.push([`${property}: ${node.name}`, lacking(data?.[node.name.replaceAll('-', '_')] ?? data?.[node.name])]);
		if (node.type === 'Function') {
			for (const type of VALUES) found.push([`${node.name}()`, lacking(type[node.name] ?? (type === VALUES[0] ? bcd.css.types[node.name] : undefined))]);
		}
		if (node.type === 'Dimension') {
			const unit = /^[dsl]v[hwib]/.test(node.unit) ? 'viewport_percentage_units_dynamic' : node.unit;
			found.push([node.unit, lacking(units[unit])]);
		}
		if (node.type === 'Operator' && node.value === '/' && property === 'content') found.push(['content: / alternative', lacking(bcd.css.properties.content.alt_text)]);
	});
	if (property === 'align-items' && css.generate(value).startsWith('last')) {
		found.push(['last baseline', lacking(bcd.css.properties['align-items'].flex_context?.last_baseline ?? bcd.css.properties['align-items'].last_baseline)]);
	}
	const unknown = found.filter(([, lacks]) => lacks.length > 0);
	if (unknown.length === 0) return;
	// An earlier declaration in the same rule is what an old browser takes.
	const before = rule.block.children.toArray();
	const hasFallback = before.slice(0, before.indexOf(declaration)).some((other) => other.property === property);
	if (!hasFallback) unknown.forEach(([feature, lacks]) => report(file, loc.start.line, feature, lacks));
}

function checkStyle(file, text) {
	const tree = css.parse(text, { positions: true, parseCustomProperty: true });
	let supported;
	css.walk(tree, {
		enter(node) {
			if (node.type === 'Atrule' && node.name === 'supports') supported ??= node;
			if (node.type === 'Rule' && this.rule) report(file, node.loc.start.line, 'nesting', lacking(bcd.css.selectors.nesting));
			if (supported) return;
			if (node.type === 'Declaration' && this.rule) checkDeclaration(file, this.rule, node);
			if (node.type === 'PseudoClassSelector' || node.type === 'PseudoElementSelector') {
				const lacks = lacking(bcd.css.selectors[node.name]);
				if (lacks.length > 0) report(file, node.loc.start.line, `:${node.name}`, lacks);
			}
			if (node.type === 'FeatureRange') report(file, node.loc.start.line, 'ranges', lacking(bcd.css['at-rules'].media.range_syntax));
			if (node.type === 'Atrule') {
				const lacks = lacking(bcd.css['at-rules'][node.name]);
				if (lacks.length > 0) report(file, node.loc.start.line, `@${node.name}`, lacks);
			}
		},
		leave(node) {
			if (node === supported) supported = undefined;
		},
	});
}

function checkDocument(file, text) {
	for (const { 1: tag, 2: attributes, index } of text.matchAll(/<([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*\/?>/g)) {
		const line = text.slice(0, index).split('\n').length;
		const element = bcd.html.elements[tag];
		const check = (feature, data) => lacking(data).length > 0 && report(file, line, feature, lacking(data));
		check(`<${tag}>`, element);
		for (const [, name, value] of attributes.matchAll(/([a-z-]+)(?:="([^"]*)")?/g)) {
			check(name, element?.[name] ?? bcd.html.global_attributes[name]);
			check(value, element?.[name]?.[value]);
		}
	}
}

const checks = { js: checkScript, css: checkStyle, html: checkDocument };
const known = readdirSync(folder).filter((file) => checks[file.split('.').pop()]);
for (const file of known) checks[file.split('.').pop()](file, readFileSync(new URL(file, folder), 'utf8'));
for (const fault of new Set(faults)) console.error(fault);
const names = Object.entries(OLDEST).map(([browser, version]) => `${browser} ${version}`).join(', ');
console.log(faults.length > 0 ? `${faults.length} features are missing` : `${known.length} files keep to ${names}`);
process.exitCode = faults.length > 0 ? 1 : 0;
