/* score_words: the word lists of the routing score and the index over them.
 *
 * Runs in workers (and in contrib/optiroute-score). The lists are what people edit: lower case,
 * separated by ", ", a phrase has exactly two words, each entry belongs to one feature only (the
 * index refuses doubles, so every test would fail). A plural in -s and a possessive in 's need no
 * entry, the scanner cuts them. After a change run contrib/fit_score.py again.
 *
 * The surprise: the index is built by the first lookup of a process, into static memory. That keeps
 * the lists readable and costs some 50 microseconds once.
 */
#include "score_words.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/panic.h"
#include "gateway/score.h"

static const struct {
    enum score_feature feature;
    const char *words;
} lists[] = {
    {SCORE_CODE,
     "python, javascript, typescript, java, rust, golang, kotlin, haskell, sql, bash, html, css, "
     "regex, regexp, function, method, class, struct, pointer, array, linked list, hashmap, "
     "dictionary, boolean, string, integer, int, void, const, printf, println, stdin, stdout, "
     "def, elif, lambda, async, await, import, iterator, compile, compiler, debug, refactor, "
     "unit test, code, codebase, source code, snippet, script, loop, recursion, recursive, "
     "variable, exception handling, null, syntax, stack trace, segfault, traceback, "
     "pull request, docker, dockerfile, kubernetes, yaml, endpoint, pseudocode, "
     "leetcode, react, django, flask, numpy, pandas, cmake, makefile, git"},
    {SCORE_COMPUTING,
     "algorithm, complexity, thread, mutex, deadlock, concurrent, concurrency, distributed, "
     "database, index, query, cache, caching, lru, latency, throughput, scalable, scalability, "
     "server, client, protocol, tcp, api, rest, encryption, encrypt, cryptography, hash, queue, "
     "heap, stack, tree, binary tree, graph, node, memory, kernel, operating system, processor, "
     "cpu, pipeline, compression, packet, router, firewall, malware, neural, neural network, "
     "classifier, classification, gradient, overfitting, training, training set, dataset, "
     "learning rate, machine learning, deep learning, cross validation, svm, bayesian, "
     "decision tree, architecture, microservice, rate limiter, load balancer, consensus, "
     "replication, sharding, transaction, bit, byte, binary, hexadecimal, software, hardware, "
     "microprocessor, robot, computer, program, input, output, parameter, backend, frontend, "
     "thread safe, lock free, lock, locking, contention, workload, fault tolerant, data center, "
     "monolith, availability, websocket, "
     "schema, migration"},
    {SCORE_MATHS,
     "integral, integrate, derivative, differentiate, differential, equation, inequality, "
     "polynomial, quadratic, logarithm, exponent, exponential, matrix, matrices, determinant, "
     "eigenvalue, eigenvector, vector, theorem, lemma, corollary, conjecture, prime, irrational, "
     "rational, integer n, divisible, divisor, modulo, factorial, numerator, "
     "denominator, square root, sqrt, cube, triangle, hypotenuse, circle, radius, diameter, "
     "circumference, perimeter, area, volume, angle, polygon, parallel, perpendicular, slope, "
     "intercept, coordinate, sine, cosine, tangent, sin, cos, tan, log, ln, limit, series, "
     "converge, convergent, diverge, continuous, subgroup, group g, abelian, homomorphism, "
     "isomorphic, permutation, combination, sequence, arithmetic, algebra, algebraic, geometry, "
     "geometric, calculus, trigonometry, multiply, divide, divided, subtract, sum, product, "
     "solve, simplify, factor, evaluate, calculate, compute, greatest, rounded, decimal, "
     "simultaneous, induction, contradiction, infinite, infinitely, finite, bijection"},
    {SCORE_QUANTITIES,
     "how many, how much, how long, how far, how old, total, altogether, in total, each, every, "
     "dozen, "
     "number of, one, two, three, four, five, "
     "six, seven, eight, nine, ten, twelve, twenty, hundred, thousand, million, "
     "average, amount, combined, extra, additional, also, pair, "
     "single, score, pound, ounce, gallon, liter, litre, cup, mile, meter, metre, kilometer, "
     "feet, foot, inch, yard, mph, kilogram, gram, speed, distance"},
    {SCORE_EXPERT,
     "profit, loss, revenue, income, salary, loan, debt, interest, mortgage, tax, taxable, "
     "deduction, invest, investment, bond, dividend, asset, liabilities, equity, inventory, "
     "depreciation, accounting, audit, auditor, balance sheet, shareholder, stock, expense"},
    {SCORE_PROPORTIONS,
     "twice, thrice, half, third, fourth, fifth, quarter, double, triple, per, percent, "
     "percentage, fraction, ratio, proportion, relative, remaining, remainder, left, rest of, "
     "the rest, times, many times, many more, as many, as much, times as, times more"},
    {SCORE_REASONING,
     "why, explain, explaining, explanation, prove, proof, derive, derivation, justify, "
     "justification, compare, comparing, contrast, analyze, analyse, analyzing, analysis, "
     "evaluate whether, discuss, argue, critique, step, step by, reason, reasoning, "
     "because, therefore, hence, thus, consequence, consequently, imply, cause, result in, "
     "resulting, lead to, due to, trade off, tradeoff, pros and, advantage, disadvantage, "
     "implication, strategy for, infer, inference, deduce, conclude, conclusion, hypothesis, "
     "evidence, experiment, predict, interpret, interpretation, difference, relationship, "
     "affect, effect, optimal, optimize, optimise, best explanation, strongest, weakness, "
     "diagnose, troubleshoot, root cause, edge case, counterexample, in depth, detailed, "
     "impact, risk, assess, recommend, recommendation, considering, critically, "
     "thorough, thoroughly, rigorous, rigorously, comprehensive"},
    {SCORE_TASK,
     "write, implement, implementing, design, build, create, develop, draft, compose, generate, "
     "plan, propose, outline, refute, rewrite, convert, optimize this, review, fix, essay, "
     "report, proposal, story, article, speech, cover letter, business plan, screenplay, "
     "tutorial, curriculum, itinerary, specification"},
    {SCORE_CONSTRAINTS,
     "must, exactly, at least, at most, no more, no less, no fewer, only use, do not, don't, "
     "without using, ensure, required, requirement, require, constraint, subject to, such that, "
     "satisfy, satisfies, given that, provided that, avoid, limit to, less than, fewer than, "
     "between, up to, including, include, each of, following rule, strictly, precisely, should "
     "be, need to, minimum, maximum, maximize, minimize, both of, in order"},
    {SCORE_FORMAT,
     "table, json, xml, csv, markdown, latex, bullet, bulleted, bullet point, numbered, numbered "
     "list, heading, paragraph, format, formatted, template, columns, word limit, citation, "
     "footnote, sections, diagram, flowchart, rubric"},
    {SCORE_CONDITIONS,
     "if, unless, suppose, supposing, assume, assuming, assumption, whether, would, could, might, "
     "otherwise, provided, in case, when, while, until, whenever, given, consider, hypothetical, "
     "scenario, likely, most likely, probably, expect, expected, then, depending, depend"},
    {SCORE_NEGATION,
     "not, never, no, none, nor, except, without, cannot, can't, didn't, doesn't, isn't, "
     "wasn't, won't, wouldn't, shouldn't, couldn't, aren't, false, incorrect, unlike, but, "
     "although, though, however, despite, even, nevertheless, failed, fail, refuse, refused, "
     "deny, denied, lack, unknown, unable, instead"},
    {SCORE_COMPARISON,
     "than, more, less, fewer, greater, higher, lower, larger, smaller, faster, slower, better, "
     "worse, older, younger, longer, shorter, same, equal, equally, similar, increase, increased, "
     "decrease, decreased, rise, fall, change, reduce, reduced, rather, "
     "compared, most, least, best, worst"},
    {SCORE_STORY,
     "he, his, him, she, her, hers, i, me, my, they, their, them, man, woman, boy, girl, son, "
     "daughter, father, mother, brother, sister, husband, wife, friend, neighbor, neighbour, "
     "wanted, decided, decides, asked, told, said, saw, went, took, gave, got, came, put, ran, "
     "walked, drove, knew, thought, found, lived, home, house, apartment, car, dog, cat, store, "
     "shop, farmer, teacher, student, parent, child, children, kid, brought, brings, wants, goes, "
     "takes, gets, buys, makes, bring, entered, left the, opened, replied, noticed"},
    {SCORE_PROPERTY,
     "deed, conveyed, convey, conveyance, grantor, grantee, landowner, landlord, tenant, lease, "
     "easement, tract, acre, heir, devise, will of, probate, trust, trustee, estate, property, "
     "owner, title, possession, fee simple, covenant, zoning, recorded, recording, notice, "
     "seller, buyer, mortgagee, inherit, inherited, bequest"},
    {SCORE_EXPERT,
     "plaintiff, defendant, court, jury, judge, statute, statutory, constitution, "
     "constitutional, unconstitutional, amendment, contract, breach, negligence, negligent, tort, "
     "liable, damages, sue, sued, suing, lawsuit, appeal, appellant, prosecution, prosecutor, "
     "convict, convicted, conviction, guilty, crime, criminal, murder, robbery, burglary, "
     "larceny, felony, homicide, manslaughter, assault, battery, evidence admissible, admissible, "
     "inadmissible, hearsay, testimony, testify, witness, attorney, lawyer, counsel, verdict, "
     "jurisdiction, federal court, supreme court, "
     ""
     ""
     "offeror, offeree, acceptance, consideration, consent, warrant, arrest, arrested, police, "
     "officer, search, seizure, privilege, objection, motion, clause, commerce clause, due "
     "process, equal protection, legislature, ordinance, enacted, recover, prevail, entitled, "
     "claim, alleged, alleging, action, regulation, legal, law, lawful, unlawful, strict "
     "liability, specific performance, promise, promised, agreement, agreed, signed, party, "
     "parties, granted"},
    {SCORE_EXPERT,
     "patient, physician, doctor, nurse, hospital, emergency department, symptom, diagnosis, "
     "treatment, therapy, medication, drug, dose, mg, pain, fever, blood, blood pressure, pulse, "
     "respiration, examination, physical examination, x ray, mri, biopsy, serum, hemoglobin, "
     "glucose, infection, antibiotic, cancer, tumor, lesion, syndrome, disease, chronic, acute, "
     "artery, vein, nerve, muscle, heart, lung, liver, kidney, renal, cardiac, hepatic, abdomen, "
     "abdominal, surgery, fracture, pregnancy, pregnant, vaccine, insulin, diabetes, "
     "hypertension, asthma, stroke, seizures, clinical, psychologist, psychiatrist, therapist, "
     "depression, anxiety, disorder, schizophrenia, gene, genetic, mutation, dna, "
     "chromosome, allele, inheritance"},
    {SCORE_ETHICS,
     "wrong, morally, moral, immoral, ethical, unethical, ethic, ought, appropriate, "
     "inappropriate, permissible, blame, guilt, duty, standards, fair, unfair, right thing, "
     "dilemma, acceptable, unacceptable, responsible, responsibility, confidentiality, harm, "
     "informed consent"},
    {SCORE_EXPERT,
     "force, velocity, acceleration, momentum, energy, kinetic, potential energy, gravity, "
     "gravitational, mass, friction, torque, pressure, temperature, heat, thermal, entropy, "
     "electric, electrical, magnetic, current, voltage, resistance, resistor, ohm, circuit, "
     "capacitor, inductor, charge, electron, proton, neutron, photon, atom, atomic, molecule, "
     "wavelength, frequency, wave, light, lens, mirror, quantum, relativity, orbit, planet, star, "
     "sun, moon, earth, galaxy, mole, molar, acid, base, ph, reaction, equilibrium, oxidation, "
     "solution, solvent, ion, bond energy, enthalpy, compound, element, liquid, gas, solid, ball, "
     "projectile, spring, motor, wire, coil, amplifier, transistor, signal, density, weight, "
     "speed of, water, air, pendulum, collision, object, motion of"},
    {SCORE_EXPERT,
     "probability, random, randomly, sample, sampling, population, mean, median, mode, standard "
     "deviation, variance, distribution, normal distribution, correlation, regression, "
     "coefficient, residual, confidence interval, significance, significant, null hypothesis, "
     "p value, t test, chi square, estimator, unbiased, bias, outlier, histogram, scatterplot, "
     "boxplot, percentile, quartile, survey, study, group, control group, treatment group, "
     "independent variable, dependent, dependent variable, data, researcher, autocorrelation, "
     "heteroscedasticity, stationary, estimate, test"},
    {SCORE_LOGIC,
     "statement, none of, all of, both, neither, true, valid, invalid, premise, proposition, "
     "propositional, predicate, truth "
     "table, logically, logical, equivalent, consistent, inconsistent, argument, argues, "
     "fallacy, negation, conjunction, disjunction, antecedent, consequent, quantifier, formula, "
     "translation of, symbolize, statement i, statement ii, ii, iii, iv, ad hominem, syllogism, "
     "necessary, sufficient, implies, wff"},
    {SCORE_EXPERT,
     "demand, supply, curve, market, monopoly, competition, competitive, firm, consumer, "
     "producer, inflation, unemployment, gdp, fiscal, monetary, federal reserve, deficit, "
     "surplus, tariff, trade, import tariff, export, exchange rate, currency, aggregate, "
     "marginal, elasticity, elastic, economy, economic, economics, wages, output level, "
     "production, labor, capital stock, policy, policies"},
    {SCORE_RECALL,
     "what is, what are, what's the, who, whom, whose, where, define, definition, meaning, "
     "synonym, antonym, term, called, known as, known, referred, refers, refer, describes, "
     "described as, name, named, capital, capital of, invented, discovered, founded, author of, "
     "translate, spell, hello, hi, hey, thanks, thank, please, good morning, type of, kind of, "
     "kinds, types of, an example, example of, example, associated, associated with, role, "
     "function of, major, main, primary, important, characteristic, feature, features, various, "
     "religion, religious, god, marketing, culture, cultural, society, theory, concept, "
     "united states, president, century, country, countries, famous, movie, song, "
     "color, colour, animal, recipe, joke, weather, tell me, summarize, list the, in english, "
     "in spanish, in french, in german"},
    {SCORE_PASSAGE,
     "passage, excerpt, according to, the author, quotation, source, written by, information "
     "from, historian, text, the following, letter to, declaration, empire, revolution, king, "
     "colonies, war, treaty, nation, social, political, government, congress, party system, "
     "people"},
};

/* A power of two, at least twice the number of entries. */
#define INDEX_SIZE 4096
#define OPENS_PHRASE 0x80u
#define FEATURE_BITS 0x7fu

/* One slot: the upper 56 bits of the hash, then OPENS_PHRASE and the feature + 1. 0 is free. */
static uint64_t word_index[INDEX_SIZE];
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

static uint64_t *find_slot(uint64_t hash) {
    size_t at = (size_t)(hash >> 32) % INDEX_SIZE;
    while (word_index[at] != 0 && (word_index[at] ^ hash) >> 8 != 0)
        at = (at + 1) % INDEX_SIZE;
    return &word_index[at];
}

/* The hash of text[0..size), which has at most one blank; marks the first of two words. */
static uint64_t hash_entry(const char *text, size_t size) {
    uint64_t first = 0, hash = SCORE_WORD_SEED;
    bool phrase = false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ') {
            hash = score_word_add(hash, (unsigned char)text[i]);
            continue;
        }
        ASSERT(!phrase);
        phrase = true;
        first = hash;
        hash = SCORE_WORD_SEED;
    }
    if (!phrase)
        return hash;
    uint64_t *slot = find_slot(first);
    if (*slot == 0)
        *slot = first & ~UINT64_C(0xff);
    *slot |= OPENS_PHRASE;
    return score_word_join(first, hash);
}

static void index_list(enum score_feature feature, const char *words) {
    while (*words != '\0') {
        size_t size = strcspn(words, ",");
        uint64_t hash = hash_entry(words, size);
        uint64_t *slot = find_slot(hash);
        ASSERT((*slot & FEATURE_BITS) == 0); /* no entry twice */
        *slot = (hash & ~UINT64_C(0xff)) | (*slot & OPENS_PHRASE) | ((unsigned)feature + 1);
        words += size;
        words += strspn(words, ", ");
    }
}

static void build_index(void) {
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        index_list(lists[i].feature, lists[i].words);
}

struct score_word score_word_find(uint64_t hash) {
    pthread_once(&index_once, build_index);
    uint64_t slot = *find_slot(hash);
    return (struct score_word){.feature = (int)(slot & FEATURE_BITS) - 1,
                               .opens_phrase = (slot & OPENS_PHRASE) != 0};
}
