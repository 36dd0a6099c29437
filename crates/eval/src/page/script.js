document.querySelectorAll("th").forEach(function(head){
  var sort=function(){
    var table=head.closest("table"),body=table.tBodies[0],at=head.cellIndex;
    var down=head.getAttribute("aria-sort")==="descending"?1:-1;
    if(!head.hasAttribute("aria-sort")&&!head.classList.contains("n"))down=1;
    var key=function(row){return row.cells[at].textContent.trim()};
    var value=function(text){return parseFloat(text.replace(/\u2212/g,"-").replace(/^</,""))};
    var rows=Array.from(body.rows);
    rows.sort(function(a,b){
      var x=key(a),y=key(b),p=value(x),q=value(y);
      if(head.classList.contains("n")){
        if(isNaN(p)||isNaN(q))return isNaN(p)-isNaN(q);
        return down*(p-q);
      }
      return down*x.localeCompare(y,"en",{numeric:true});
    });
    table.querySelectorAll("th").forEach(function(other){other.removeAttribute("aria-sort")});
    head.setAttribute("aria-sort",down===1?"ascending":"descending");
    rows.forEach(function(row){body.appendChild(row)});
  };
  head.tabIndex=0;
  head.title="sort";
  head.addEventListener("click",sort);
  head.addEventListener("keydown",function(event){if(event.key==="Enter")sort()});
});
var reveal=function(){
  var target=location.hash.length>1&&document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for(var at=target;at;at=at.parentElement)if(at.tagName==="DETAILS")at.open=true;
  if(target)target.scrollIntoView();
};
addEventListener("hashchange",reveal);
reveal();
