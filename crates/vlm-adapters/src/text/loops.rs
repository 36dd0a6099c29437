//! `{% break %}` and `{% continue %}`, which the template engine does not have here, in terms of what it has.
//!
//! A loop that is left early gets two flags: what follows a `break` or a `continue` in its body stands in a condition on them,
//! and so does the whole body once the loop was left. The tags that this adds take over the white-space marks of their
//! neighbours, so that not a blank changes.

/// The same template without the two tags; templates without them come back as they are.
pub(super) fn without_loop_controls(source: &str) -> String {
    let pieces = split(source);
    let leaves =
        |piece: &Piece<'_>| matches!(piece, Piece::Tag(tag) if ["break", "continue"].contains(&tag.word()));
    if !pieces.iter().any(leaves) {
        return source.to_string();
    }
    let mut rest = pieces.as_slice();
    let nodes = parse(&mut rest);
    if !rest.is_empty() {
        // Ends without beginnings: the engine says so, with the line.
        return source.to_string();
    }
    let mut writer = Writer::default();
    writer.sequence(&nodes, None, "");
    writer.text
}

/// A stretch of a template.
#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    /// Text, expressions, comments.
    Other(&'a str),
    /// `{% ... %}`.
    Tag(Tag<'a>),
}

#[derive(Debug, Clone, Copy)]
struct Tag<'a> {
    whole: &'a str,
    /// `-`, `+` or nothing behind `{%`.
    left: &'a str,
    /// The same before `%}`.
    right: &'a str,
    content: &'a str,
}

impl<'a> Tag<'a> {
    fn new(whole: &'a str) -> Self {
        let inner = whole.strip_prefix("{%").unwrap_or(whole);
        let inner = inner.strip_suffix("%}").unwrap_or(inner);
        let mark = |found: bool, at: usize| if found { &inner[at..at + 1] } else { "" };
        let left = mark(inner.starts_with(['-', '+']), 0);
        let inner_rest = &inner[left.len()..];
        let right_found = inner_rest.ends_with(['-', '+']);
        let right = mark(right_found, inner.len().saturating_sub(1));
        Self {
            whole,
            left,
            right,
            content: inner_rest[..inner_rest.len() - right.len()].trim(),
        }
    }

    fn word(&self) -> &'a str {
        self.content.split_whitespace().next().unwrap_or_default()
    }
}

/// Cuts a template at its tags. Comments, expressions and raw blocks stay whole.
fn split(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while !rest.is_empty() {
        let starts = ["{%", "{{", "{#"].iter().filter_map(|start| rest.find(start));
        let Some(start) = starts.min() else {
            pieces.push(Piece::Other(rest));
            break;
        };
        if start > 0 {
            pieces.push(Piece::Other(&rest[..start]));
            rest = &rest[start..];
        }
        let end = match &rest[..2] {
            "{#" => rest.find("#}").map(|end| end + 2),
            "{{" => end_of(rest, "}}"),
            _ => end_of(rest, "%}"),
        };
        let Some(end) = end else {
            pieces.push(Piece::Other(rest));
            break;
        };
        let whole = &rest[..end];
        rest = &rest[end..];
        if !whole.starts_with("{%") {
            pieces.push(Piece::Other(whole));
            continue;
        }
        let tag = Tag::new(whole);
        pieces.push(Piece::Tag(tag));
        if tag.word() == "raw" {
            let end = rest
                .find("endraw")
                .and_then(|at| rest[..at].rfind("{%"))
                .unwrap_or(rest.len());
            pieces.push(Piece::Other(&rest[..end]));
            rest = &rest[end..];
        }
    }
    pieces
}

/// The place behind `close`, which does not count inside a string.
fn end_of(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(mark) if character == mark => quote = None,
            Some(_) => {}
            None if text[at..].starts_with(close) => return Some(at + close.len()),
            None if character == '"' || character == '\'' => quote = Some(character),
            None => {}
        }
    }
    None
}

/// A part of a template.
#[derive(Debug)]
enum Node<'a> {
    Plain(&'a str),
    Leave(Tag<'a>),
    /// A loop or a condition: its branches, each behind its tag, and the tag that ends it.
    Block {
        is_loop: bool,
        branches: Vec<(Tag<'a>, Vec<Self>)>,
        end: Option<Tag<'a>>,
    },
}

/// The nodes up to a tag that ends or divides the block around them.
fn parse<'a>(rest: &mut &[Piece<'a>]) -> Vec<Node<'a>> {
    let mut nodes = Vec::new();
    while let Some((first, others)) = rest.split_first() {
        match first {
            Piece::Other(text) => nodes.push(Node::Plain(text)),
            Piece::Tag(tag) => match tag.word() {
                "else" | "elif" | "endif" | "endfor" => return nodes,
                "break" | "continue" => nodes.push(Node::Leave(*tag)),
                "for" | "if" => {
                    *rest = others;
                    nodes.push(block(*tag, rest));
                    continue;
                }
                _ => nodes.push(Node::Plain(tag.whole)),
            },
        }
        *rest = others;
    }
    nodes
}

fn block<'a>(open: Tag<'a>, rest: &mut &[Piece<'a>]) -> Node<'a> {
    let mut branches = vec![(open, parse(rest))];
    let mut end = None;
    while let Some((Piece::Tag(tag), others)) = rest.split_first() {
        *rest = others;
        if tag.word().starts_with("end") {
            end = Some(*tag);
            break;
        }
        branches.push((*tag, parse(rest)));
    }
    Node::Block {
        is_loop: open.word() == "for",
        branches,
        end,
    }
}

impl Node<'_> {
    /// `true` if the loop around it may be left here.
    fn leaves(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Leave(_) => true,
            Self::Block {
                is_loop, branches, ..
            } => {
                // What a loop does in its own body is its own affair.
                let outer = if *is_loop { &branches[1..] } else { branches };
                outer.iter().any(|(_, nodes)| nodes.iter().any(Self::leaves))
            }
        }
    }
}

#[derive(Default)]
struct Writer {
    text: String,
    loops: usize,
}

impl Writer {
    /// Writes nodes whose loop has the flags of this name; `next` is the left mark of the tag behind them.
    fn sequence(&mut self, nodes: &[Node<'_>], flags: Option<&str>, next: &str) {
        for (i, node) in nodes.iter().enumerate() {
            match node {
                Node::Plain(text) => self.text += text,
                Node::Leave(tag) => {
                    match flags {
                        Some(flags) => {
                            let (left, right) = (tag.left, tag.right);
                            let flag = if tag.word() == "break" { "stop" } else { "skip" };
                            self.text += &format!("{{%{left} set {flags}.{flag} = true {right}%}}");
                        }
                        // Outside of loops: for the engine to refuse.
                        None => self.text += tag.whole,
                    }
                    return;
                }
                Node::Block { .. } => {
                    self.block(node, flags);
                    let (Some(flags), true, rest) = (flags, node.leaves(), &nodes[i + 1..]) else {
                        continue;
                    };
                    if !rest.is_empty() {
                        let right = self.last_mark();
                        self.text += &format!("{{% if not ({flags}.stop or {flags}.skip) {right}%}}");
                        self.sequence(rest, Some(flags), next);
                        self.text += &format!("{{%{next} endif %}}");
                    }
                    return;
                }
            }
        }
    }

    fn block(&mut self, node: &Node<'_>, flags: Option<&str>) {
        let Node::Block {
            is_loop,
            branches,
            end,
        } = node
        else {
            return;
        };
        let own = (*is_loop && branches[0].1.iter().any(Node::leaves)).then(|| {
            self.loops += 1;
            format!("_loop_{}", self.loops)
        });
        for (i, (tag, nodes)) in branches.iter().enumerate() {
            let next = branches.get(i + 1).map(|(tag, _)| tag).or(end.as_ref());
            let next = next.map_or("", |tag| tag.left);
            match &own {
                Some(own) if i == 0 => {
                    let (left, right) = (tag.left, tag.right);
                    self.text += &format!(
                        "{{%{left} set {own} = namespace(stop=false, skip=false) %}}{}",
                        tag.whole
                    );
                    self.text += &format!("{{% if not {own}.stop %}}{{% set {own}.skip = false {right}%}}");
                    self.sequence(nodes, Some(own), next);
                    self.text += &format!("{{%{next} endif %}}");
                }
                _ => {
                    self.text += tag.whole;
                    let inside = if *is_loop && i == 0 { None } else { flags };
                    self.sequence(nodes, inside, next);
                }
            }
        }
        if let Some(end) = end {
            self.text += end.whole;
        }
    }

    /// The right mark of the tag that was written last.
    fn last_mark(&self) -> &'static str {
        match self.text.strip_suffix("%}") {
            Some(text) if text.ends_with('-') => "-",
            Some(text) if text.ends_with('+') => "+",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChatTemplate;

    fn render(source: &str) -> Result<String, crate::LoadError> {
        ChatTemplate::new("t", source)?.render(&[], false)
    }

    #[test]
    fn loops_are_left_and_gone_on_with() -> Result<(), crate::LoadError> {
        for (source, wanted) in [
            (
                "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}.",
                "1.",
            ),
            (
                "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}.",
                "13.",
            ),
            (
                "{% for x in [1, 2, 3] %}{{ x }}{% break %}never{% endfor %}.",
                "1.",
            ),
            (
                "{% for x in [1, 2] %}{% for y in [1, 2, 3] %}{% if y == x + 1 %}{% break %}{% endif %}{{ x }}{{ y }} \
                 {% endfor %}|{% endfor %}",
                "11 |21 22 |",
            ),
            (
                "{% for x in [1, 2, 3, 4] %}{% if x == 1 %}{% continue %}{% elif x == 3 %}a{% if true %}{% break %}{% endif %}b\
                 {% else %}c{% endif %}{{ x }}{% endfor %}",
                "c2a",
            ),
            ("{% for x in [] %}{% break %}{% else %}none{% endfor %}", "none"),
            (
                "{% raw %}{% break %}{% endraw %}{{ '{% break %}' }}",
                "{% break %}{% break %}",
            ),
        ] {
            assert_eq!(render(source)?, wanted, "{source}");
        }
        Ok(())
    }

    /// White space is that of the same template with conditions in place of the tag.
    #[test]
    fn not_a_blank_changes() -> Result<(), crate::LoadError> {
        let lines = "a\n  {% for x in [1, 2, 3] %}\n    b\n    {% if x == 2 %}\n      {% continue %}\n    {% endif %}\n    c{{ x }}\n  \
                     {% endfor %}\nd\n";
        assert_eq!(render(lines)?, "a\n    b\n    c1\n    b\n    b\n    c3\nd");
        let marked = "a \n {%- for x in [1, 2] -%} \n b \n {%- if x == 2 -%} \n {%- break -%} \n {%- endif -%} \n c \n {%- endfor -%} \n d";
        assert_eq!(render(marked)?, "abcbd");
        Ok(())
    }

    #[test]
    fn other_templates_stay_as_they_are_and_nonsense_is_refused() {
        let plain = "{% for x in y %}{{ '%}' }}{# break #}{% endfor %}";
        assert_eq!(without_loop_controls(plain), plain);
        for source in [
            "{% break %}",
            "{% if true %}{% continue %}{% endif %}",
            "{% endfor %}{% break %}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
    }
}
