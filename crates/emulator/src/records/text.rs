//! Texts that read and compress like those of a help centre: prose, HTML tables, pages read out of a PDF, questions.
//!
//! They hold what breaks careless readers: quotes of all sorts, emoji, no-break spaces, soft hyphens, tags, words cut
//! at both ends, other languages.

use std::fmt::Write;

use super::dice::Dice;

/// What a document and the questions that lead to it are about.
pub(crate) const TOPICS: &[&str] = &[
    "fixed deposits",
    "the travel credit card",
    "home loan rates",
    "parental leave",
    "expense reports",
    "the Columbus housing market",
    "two-factor login",
    "VPN access",
    "cheque books",
    "international transfers",
    "the returns policy",
    "warranty claims",
    "mutual funds",
    "password resets",
    "remote work",
    "health insurance",
    "invoice approval",
    "the mobile app",
    "delivery times",
    "rental yields",
    "data retention",
    "tax certificates",
    "student accounts",
    "account closure",
];

const SENTENCES: &[&str] = &[
    "You can apply for {t} online, in the app or at any branch near you. ",
    "Most requests about {t} are settled within {n} working days. ",
    "The fee is ${n}.{m} per month unless the average balance stays above ${n},000. ",
    "Customers who opened an account before 20{m} keep the conditions they signed. ",
    "“We’ve seen demand for {t} grow by {n}.{m}% in a year,” said the regional manager. ",
    "If the status does not change after {n} minutes, sign out and sign in again. ",
    "For details see section {n}.{m} of the terms & conditions. ",
    "This is 26% below the national median, while demand continues to outpace supply. ",
    "Don’t share your one-time password with anyone – not even with our staff! ",
    "Call 1930 or visit www.cybercrime.example/report?case={n}&lang=en for help. ",
    "The value of {t} rose from {n} to {n}\u{a0}million, a change of {m}\u{a0}%. ",
    "👉 Watch now: the {n} biggest questions about {t} in under {m} minutes! 🎉 ",
    "It’s the applicant’s duty to keep the “original” documents for {n} years. ",
    "Select Settings > Security > \"Trusted devices\" and choose Remove. ",
    "Payments below {n} EUR are free; above that the rate is 0.{m} % plus 3 €. ",
    "Managers approve requests for {t} in the portal; HR is told automatically. ",
];

const WORDS: &[&str] = &[
    "account",
    "market",
    "balance",
    "rate",
    "policy",
    "customer",
    "branch",
    "annual",
    "monthly",
    "payment",
    "deposit",
    "interest",
    "growth",
    "revenue",
    "estimate",
    "property",
    "buyer",
    "seller",
    "contract",
    "employee",
    "manager",
    "request",
    "approval",
    "document",
    "identity",
    "device",
    "security",
    "network",
    "support",
    "service",
    "delivery",
    "warehouse",
    "order",
    "refund",
    "insurance",
    "premium",
    "claim",
    "coverage",
    "tax",
    "income",
    "statement",
    "transfer",
    "currency",
    "limit",
    "fee",
    "charge",
    "card",
    "loan",
    "mortgage",
    "term",
    "period",
    "notice",
    "benefit",
    "leave",
    "holiday",
    "team",
    "remote",
    "office",
    "expense",
    "invoice",
    "supplier",
    "budget",
    "forecast",
    "quarter",
    "segment",
    "population",
    "employment",
    "median",
    "inventory",
    "listing",
    "construction",
    "rental",
    "yield",
    "investor",
    "portfolio",
    "fund",
    "equity",
    "share",
    "dividend",
    "risk",
    "compliance",
    "audit",
    "privacy",
    "retention",
    "consent",
    "record",
    "archive",
    "backup",
    "software",
    "update",
    "version",
    "browser",
    "password",
    "login",
    "session",
    "token",
    "nominee",
    "signature",
    "resident",
    "certificate",
    "student",
    "guardian",
    "eligible",
    "required",
    "available",
    "additional",
    "minimum",
    "maximum",
    "standard",
    "verified",
    "pending",
    "completed",
    "regional",
    "national",
    "domestic",
    "international",
    "digital",
    "physical",
    "temporary",
    "permanent",
    "Vertrag",
    "Kündigung",
    "Gebühr",
    "naïve",
    "façade",
    "résumé",
    "co\u{ad}operation",
    "e\u{2011}mail",
];

const JOINTS: &[&str] = &[
    " of the ", " and ", " for ", " in ", " with ", " to the ", " is ", " on ", " by the ", " – ",
    ", ", " or ", " at ", " from ", " ", " ", " ",
];

const QUESTIONS: &[&str] = &[
    "How do I get started with {t}?",
    "What’s Happening with {t}?",
    "what is the fee for {t}",
    "{t}",
    "Can I use {t} from abroad? 🙂",
    "Why was my request about {t} refused?",
    "Tell me about \"{t}\" & what I need",
    "documents needed for {t} <urgent>",
    "Wie funktioniert das mit {t}?",
    "{t} について教えてください",
    "how long does it take\nto change {t}",
    "Who do I call about {t}?",
];

/// A question about the topic.
pub(crate) fn question(dice: &mut Dice, topic: &str) -> String {
    dice.pick(QUESTIONS).replace("{t}", topic)
}

/// The title of a document about the topic.
pub(crate) fn title(dice: &mut Dice, topic: &str) -> String {
    const TITLES: &[&str] = &[
        "All about {t}",
        "{t} – Frequently Asked Questions",
        "What’s New in {t}?",
        "Guide to {t} | Help Centre",
        "“{t}” explained",
    ];
    dice.pick(TITLES).replace("{t}", topic)
}

/// Prose of about so many characters.
pub(crate) fn prose(dice: &mut Dice, topic: &str, characters: usize) -> String {
    // Most of the text is ASCII, so bytes are a good enough measure of its length.
    let mut text = String::with_capacity(characters + 160);
    while text.len() < characters {
        if dice.chance(0.3) {
            push_filled(dice, topic, &mut text);
        } else {
            push_sentence(dice, &mut text);
        }
    }
    text
}

/// An HTML table of about so many characters, as a crawler takes it from a page.
pub(crate) fn html_table(dice: &mut Dice, topic: &str, characters: usize) -> String {
    let mut text = String::with_capacity(characters + 300);
    text.push_str(
        "<table style=\"width: 100%; border-collapse: collapse; table-layout: fixed; \
         border: 1px solid #99acc2;\">\n <tbody>\n",
    );
    while text.len() < characters {
        text.push_str("  <tr>\n   <td style=\"width: 49.9%; padding: 4px;\"><strong>");
        text.push_str(dice.pick(WORDS));
        text.push_str("</strong></td>\n   <td class='x' data-n=\"");
        let _ = write!(text, "{}\">", dice.below(10_000));
        if dice.chance(0.3) {
            push_filled(dice, topic, &mut text);
        } else {
            push_sentence(dice, &mut text);
        }
        text.push_str("&nbsp;</td>\n  </tr>\n");
    }
    text.push_str(" </tbody>\n</table>");
    text
}

/// A page of about so many characters, as it is read out of a PDF: tabs, runs of spaces, figures of a chart.
pub(crate) fn pdf_page(dice: &mut Dice, topic: &str, page: usize, characters: usize) -> String {
    let mut text = format!("Page\t{page}    ");
    while text.len() < characters {
        match dice.below(4) {
            0 => {
                for _ in 0..6 {
                    let _ = write!(text, "{}.{:02}%   ", dice.below(60), dice.below(100));
                }
            }
            1 => push_filled(dice, topic, &mut text),
            _ => {
                push_sentence(dice, &mut text);
                text.push_str("   ");
            }
        }
    }
    text
}

/// Cuts a word off at the front, as the splitter of the vendor does.
pub(crate) fn cut_front(text: &str) -> String {
    let at = text
        .char_indices()
        .map(|(at, _)| at)
        .nth(3)
        .unwrap_or_default();
    text[at..].to_owned()
}

fn push_filled(dice: &mut Dice, topic: &str, text: &mut String) {
    let mut rest = dice.pick(SENTENCES);
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        match &rest[at..at + 3] {
            "{t}" => text.push_str(topic),
            "{m}" => {
                let _ = write!(text, "{:02}", dice.below(25));
            }
            _ => {
                let _ = write!(text, "{}", dice.between(2, 480));
            }
        }
        rest = &rest[at + 3..];
    }
    text.push_str(rest);
}

fn push_sentence(dice: &mut Dice, text: &mut String) {
    text.push_str("The ");
    for place in 0..dice.between(4, 11) {
        if place > 0 {
            text.push_str(dice.pick(JOINTS));
        }
        text.push_str(dice.pick(WORDS));
    }
    text.push_str(". ");
}

#[cfg(test)]
mod tests {
    use super::super::dice::Purpose;
    use super::*;

    #[test]
    fn texts_are_about_as_long_as_asked() {
        let mut dice = Dice::new(1, Purpose::Chunk, 0, 0);
        for characters in [30, 500, 6_000] {
            for text in [
                prose(&mut dice, TOPICS[0], characters),
                html_table(&mut dice, TOPICS[1], characters),
                pdf_page(&mut dice, TOPICS[2], 4, characters),
            ] {
                assert!(text.len() >= characters && text.len() < characters + 500);
                assert!(!text.contains("{t}") && !text.contains("{n}"));
            }
        }
    }
}
