/** Texts that need formatting, of any length. */

const GO_HEAD = "package sample\nimport (\"fmt\"; \"strings\")\n\n";
const SHELL_HEAD = "#!/bin/sh\nset -eu\n\n";

function go(number: number): string {
  return `// Part${number} counts the words of its lines.
func Part${number}( lines []string,limit int )(map[string]int, error){
  counts:=map[string]int{ "limit":limit,"part" : ${number} }
      for at,line:=range lines{
  if len(line)>limit{ return nil,fmt.Errorf( "line %d: %d letters", at,len(line) ) }
    for _,word:=range strings.Fields(line){ counts[ strings.ToLower(word) ]++ }
  }
  return counts,nil
}

`;
}

function shell(number: number): string {
  return `part_${number} () {
local place="$1" ;count=0
      for file in "$place"/*.txt;do
  if [ -f "$file" ]&&grep -q   'part ${number}' "$file"; then
 count=$(( count+1 )); echo "$file"   >>"$place/found"
      else echo "nothing in $file" >&2; fi
done
case $count in 0) return 1;; *) echo "$count files" | sort   -u;; esac
}

`;
}

/** A text of a language, as long as asked for or a little longer. */
export function sample(language: string, bytes: number): string {
  const [head, part] = language === "shell" ? [SHELL_HEAD, shell] : [GO_HEAD, go];
  let text = head;
  for (let number = 1; text.length < bytes; number++) text += part(number);
  return text;
}
